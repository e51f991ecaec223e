//! Every setting there is: its name, what it takes, its default. The flags, the environment
//! variables, the file's keys and the help all come from this one table.

/// One setting. Its environment variable is the name in upper case.
#[derive(Debug)]
pub struct Key {
    /// The name in the file.
    pub name: &'static str,
    /// The flag, where it is not the name with dashes.
    pub short_flag: Option<&'static str>,
    /// `None` where there is none, or where it depends on the machine.
    pub default: Option<&'static str>,
    /// What the value looks like, for the help.
    pub value: &'static str,
    pub help: &'static str,
}

impl Key {
    /// The flag's name without its dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.short_flag.map_or_else(|| self.name.replace('_', "-"), str::to_owned)
    }

    /// The environment variable's name.
    #[must_use]
    pub fn variable(&self) -> String {
        self.name.to_uppercase()
    }
}

const fn key(
    name: &'static str,
    default: Option<&'static str>,
    value: &'static str,
    help: &'static str,
) -> Key {
    Key { name, short_flag: None, default, value, help }
}

/// All settings, in the order of the help.
pub const KEYS: &[Key] = &[
    key("host", Some("127.0.0.1"), "ADDRESS", "Address to listen on"),
    key("port", Some("8080"), "PORT", "Port to listen on; 0 takes a free one"),
    key(
        "published_on",
        None,
        "ADDRESS",
        "In a container: where Docker publishes the port, in place of HOST",
    ),
    key("api_keys_file", None, "FILE", "API keys that are let in; `oncebox key new` makes one"),
    key("allow_anonymous", Some("false"), "BOOL", "Listen beyond loopback without API keys"),
    key(
        "rate_limit",
        None,
        "COUNT/UNIT",
        "Requests of one key or address; 100/s, 600/m or 10000/h",
    ),
    key("trusted_proxies", None, "ADDRESS,…", "Whose X-Forwarded-For is believed; 10.1.0.0/16"),
    key(
        "cors_origins",
        None,
        "ORIGIN,…",
        "Whose pages may call from browsers; https://a.example or *",
    ),
    key("engine", Some("auto"), "NAME", "What makes the containers: auto, native or docker"),
    key("docker_host", None, "URL", "Docker's socket; unix:///var/run/docker.sock by default"),
    key("runtime", None, "NAME", "Docker's runtime, such as runsc, crun or kata"),
    key("accept_unenforced", None, "memory,cpu,pids", "Run where no cgroup enforces these limits"),
    Key {
        name: "user_name",
        short_flag: Some("user"),
        default: None,
        value: "NAME|UID[:GID]",
        help: "Serve HTTP as this user",
    },
    key("base_image", None, "IMAGE", "Image of a request that names none; host or alpine:latest"),
    key(
        "custom_image_registry",
        None,
        "HOST[/PATH]",
        "Put in front of requests' images without one",
    ),
    key(
        "custom_image_pull_timeout",
        Some("300"),
        "SECONDS",
        "For a pull, all its attempts together",
    ),
    key("custom_image_pull_retries", Some("3"), "COUNT", "Attempts after one that failed"),
    key("trusted_registries", None, "HOST,…", "Requests' images only from these; *.example.org"),
    key("allowed_images", None, "PATTERN,…", "Requests may name only these; python:3.*"),
    key("require_pinned", Some("none"), "HOW", "Requests' images by none, tag or digest"),
    key("pull_policy", Some("if-not-present"), "WHEN", "always, if-not-present or never"),
    key("insecure_registries", None, "HOST,…", "Registries that are asked without TLS"),
    key("registry_ca", None, "FILE", "Further certificate authorities of registries, in PEM"),
    key("registry_auth_file", None, "FILE", "Credentials in the form of Docker's config.json"),
    key("docker_config", None, "FOLDER", "Of Docker's config.json; ~/.docker by default"),
    key("image_store", None, "FOLDER", "Images of the native engine; /var/lib/oncebox for root"),
    key("image_store_size", Some("20g"), "SIZE", "The most they may take; 0 for no limit"),
    key("max_image_size", Some("10g"), "SIZE", "The most that one image may unpack to"),
    key("timeout", Some("30"), "SECONDS", "Time a script may run"),
    key("max_timeout", Some("300"), "SECONDS", "The most a request may ask for"),
    key("memory_limit", Some("256m"), "SIZE", "Memory of a container, its /tmp included"),
    key("max_memory_limit", Some("1g"), "SIZE", "The most a request may ask for"),
    key("cpu_limit", Some("0.5"), "CPUS", "Processor time of a container, in cores"),
    key("max_cpu_limit", None, "CPUS", "The most a request may ask for; this machine's cores"),
    key("pids_limit", Some("64"), "COUNT", "Processes and threads of a container"),
    key("max_pids_limit", Some("512"), "COUNT", "The most a request may ask for"),
    key("tmp_size", Some("64m"), "SIZE", "Size of a container's /tmp"),
    key("max_tmp_size", Some("512m"), "SIZE", "The most a request may ask for"),
    key("output_limit", Some("1m"), "SIZE", "Bytes kept of stdout and of stderr, each"),
    key("max_output_limit", Some("16m"), "SIZE", "The most a request may ask for"),
    key(
        "forward_env_keys",
        None,
        "NAME,…",
        "Variables of the service that scripts get, in images that are trusted",
    ),
    key("max_body", Some("16m"), "SIZE", "The largest request body"),
    key(
        "max_connections",
        Some("1024"),
        "COUNT",
        "Connections at once; half of them of one address",
    ),
    key("head_timeout", Some("5"), "SECONDS", "For a request's head to arrive"),
    key("body_timeout", Some("30"), "SECONDS", "For a request's body to arrive"),
    key("write_timeout", Some("30"), "SECONDS", "How long a client may take none of its answer"),
    key("idle_timeout", Some("60"), "SECONDS", "For which a connection is kept without a request"),
    key("pool_size", Some("5"), "COUNT", "Containers of BASE_IMAGE that wait ahead; 0 for none"),
    key("custom_pools", None, "IMAGE=COUNT,…", "Containers of other images that wait ahead"),
    key("max_concurrent", None, "COUNT", "Executions at once; from cores, memory and pid_max"),
    key("queue_limit", Some("64"), "COUNT", "Requests that may wait for their turn"),
    key("queue_timeout", Some("10"), "SECONDS", "How long a request may wait for its turn"),
    key("execution_store", None, "FILE", "Of executions that outlive their requests"),
    key("result_ttl", Some("86400"), "SECONDS", "How long they are kept after their end"),
    key("result_store_size", Some("1g"), "SIZE", "The most that is kept of them"),
    key("max_background", Some("1000"), "COUNT", "Executions that may wait in the background"),
    key("webhook_hosts", None, "HOST,…", "Whom their ends may be told: example.org,*.example.org"),
    key("webhook_secret_file", None, "FILE", "What signs that: whsec_ and random bytes in base64"),
    key("drain_timeout", Some("30"), "SECONDS", "Time for running scripts to finish on SIGTERM"),
    key("log_level", Some("info"), "LEVEL", "error, warn, info, debug or trace"),
    key("log_format", Some("text"), "FORMAT", "text or json"),
];
