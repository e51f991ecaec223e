// One after the other: they look at what the whole service counts.
import "./live.js";
import "./browser.js";
import "./readme.js";
