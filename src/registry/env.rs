//! Which of an image's own variables a script sees.

/// Variables that make a loader, a shell or an interpreter run or load something of the image's
/// choice before the script, and those that describe a user the container does not have.
#[must_use]
pub(crate) fn is_hook(name: &str) -> bool {
    const PREFIXES: &[&str] =
        &["LD_", "DYLD_", "MALLOC_", "BASH_FUNC_", "PYTHON", "PERL5", "PERLLIB", "RUBY", "LUA_"];
    const NAMES: &[&str] = &[
        "GLIBC_TUNABLES",
        "GCONV_PATH",
        "LOCPATH",
        "NLSPATH",
        "BASH_ENV",
        "BASHOPTS",
        "SHELLOPTS",
        "ENV",
        "ZDOTDIR",
        "IFS",
        "CDPATH",
        "PS4",
        "PROMPT_COMMAND",
        "NODE_OPTIONS",
        "NODE_PATH",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "_JAVA_OPTIONS",
        "PHPRC",
        "PHP_INI_SCAN_DIR",
        "HOME",
        "USER",
        "LOGNAME",
        "HOSTNAME",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "TMPDIR",
        "_",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.is_empty()
        || !name.chars().all(plain)
        || NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::is_hook;

    #[test]
    fn hooks_are_told_from_what_programs_need() {
        for name in ["PATH", "LANG", "JAVA_HOME", "GOPATH", "LUA", "ENVIRONMENT"] {
            assert!(!is_hook(name), "{name}");
        }
        let hooks =
            ["", "LD_PRELOAD", "PYTHONSTARTUP", "BASH_FUNC_ls%%", "ENV", "HOME", "_", "a-b"];
        for name in hooks {
            assert!(is_hook(name), "{name}");
        }
    }
}
