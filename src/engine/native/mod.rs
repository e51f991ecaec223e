//! The native engine: containers made by our own spawner, with no daemon.
