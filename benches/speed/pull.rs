//! How long it takes until an image from a registry can be run, beside the daemon's own pull of the
//! same, and what an image costs that is here already.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oncebox::registry::store::{Store, StoreOptions};
use oncebox::registry::{Policy, PullOptions, Reference, Registry as Images};

use crate::processes::resident;
use crate::results::{Bar, Report, Table};
use crate::stats::{Spread, figure};
use crate::{Bench, Engine};

const LAYERS: usize = 4;
/// Of each layer, uncompressed.
const LAYER_MIB: u64 = 50;
const NAME: &str = "bench:1";
/// For a process to come up or to end.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench, engine: Engine) -> Report {
    let mut report = Report::default();
    if engine == Engine::Docker {
        report.note("The daemon's own pull is what the native engine's is compared with.");
        return report;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(folder.path());
    let image = format!("{}/{NAME}", registry.address);
    let docker = Docker { image: &image };
    docker.build(&folder.path().join("image"));
    docker.forget();
    let rounds = bench.pick(5, 1);
    let (mut ours, mut daemons, mut peak) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let store = folder.path().join(format!("store{round}"));
        let (took, most) = pull(&registry.address, &image, &store);
        ours.push(took);
        peak = peak.max(most);
        let began = Instant::now();
        docker.run(&["pull", "--quiet", &image]);
        daemons.push(began.elapsed().as_secs_f64());
        docker.forget();
    }
    let ratio = Spread::of(ours.iter().zip(&daemons).map(|(ours, daemons)| ours / daemons));
    let found = found(&folder.path().join("store0"), &image, bench.pick(200_000, 1_000));
    let peak = peak as f64 / 1024.0;
    let name = "pull and unpack 200 MiB ÷ docker pull".into();
    report.bars.push(Bar::at_most(name, ratio.median, 1.0, None));
    report.bars.push(Bar::at_most("MiB at the most while pulling, RSS".into(), peak, 64.0, None));
    report.bars.push(Bar::at_most("µs to find an image that is here".into(), found, 50.0, None));
    let mut table = Table::new(&["", "seconds", "ratio"]);
    table.row(["ours".into(), Spread::of(ours).to_string(), ratio.to_string()]);
    table.row(["docker pull".into(), Spread::of(daemons).to_string(), String::new()]);
    report.table(
        &format!("{LAYERS} layers of {LAYER_MIB} MiB of this machine's own files, gzip"),
        &table,
    );
    let peak = figure(peak);
    report.note(&format!("Service and unpacking processes together had {peak} MiB at the most."));
    report
}

/// Seconds, and the most memory of all its processes, in KiB.
fn pull(registry: &SocketAddr, image: &str, store: &Path) -> (f64, u64) {
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_oncebox"))
        .args(["image", "pull", image])
        .env_clear()
        .env("ENGINE", "native")
        .env("IMAGE_STORE", store)
        .env("INSECURE_REGISTRIES", registry.to_string())
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::null())
        .spawn()
        .expect("oncebox starts");
    let mut most = 0;
    loop {
        let (own, helpers) = resident(child.id());
        most = most.max(own + helpers);
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "the pull ended with {status}");
            return (began.elapsed().as_secs_f64(), most);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Microseconds to find an image that is here.
fn found(store: &Path, image: &str, rounds: u32) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = StoreOptions { path: store.to_owned(), size_limit: None, max_image: 1 << 40 };
        let store = Store::open(options, None).expect("a store");
        let images = Images::new(store, Policy::default(), PullOptions::default(), Arc::default());
        let reference: Reference = image.parse().expect("a reference");
        images.named(&reference).await.expect("it was pulled");
        let began = Instant::now();
        for _ in 0..rounds {
            images.named(&reference).await.expect("it is here");
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
    })
}

/// The daemon at `DOCKER_HOST`, by its own client.
struct Docker<'a> {
    image: &'a str,
}

impl Docker<'_> {
    /// Builds the image of this machine's own files, and pushes it.
    fn build(&self, folder: &Path) {
        std::fs::create_dir(folder).expect("a folder");
        let mut files = files();
        let mut script = "FROM scratch\n".to_owned();
        for layer in 0..LAYERS {
            let list = folder.with_extension(format!("list{layer}"));
            let mut size = 0;
            let mut names = String::new();
            while size < LAYER_MIB << 20 {
                let (name, bytes) = files.next().expect("enough files in /usr");
                size += bytes;
                names += &format!("{name}\n");
            }
            std::fs::write(&list, names).expect("a list");
            let tar = folder.join(format!("{layer}.tar"));
            let packed = Command::new("tar").arg("-cf").arg(tar).arg("-T").arg(list).status();
            assert!(packed.expect("tar").success(), "tar failed");
            script += &format!("ADD {layer}.tar /\n");
        }
        std::fs::write(folder.join("Dockerfile"), script).expect("a Dockerfile");
        let folder = folder.to_str().expect("UTF-8");
        self.run(&["build", "--quiet", "--tag", self.image, folder]);
        self.run(&["push", "--quiet", self.image]);
    }

    fn forget(&self) {
        self.run(&["image", "rm", "--force", self.image]);
        self.run(&["image", "prune", "--force"]);
    }

    fn run(&self, args: &[&str]) {
        let mut docker = Command::new("docker");
        let output = docker.env("DOCKER_BUILDKIT", "0").args(args).output().expect("docker");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {why}");
    }
}

/// Files of this machine, with their sizes.
fn files() -> impl Iterator<Item = (String, u64)> {
    let find = ["/usr", "-xdev", "-type", "f", "-size", "-8M", "-printf", "%s %p\\n"];
    let output = Command::new("find").args(find).output().expect("find");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<(String, u64)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(size, name)| Some((name.to_owned(), size.parse().ok()?)))
        .collect();
    lines.sort();
    lines.into_iter()
}

/// Debian's registry on a port of its own.
struct Registry {
    child: Child,
    address: SocketAddr,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let data = folder.join("registry");
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\n",
            data.display()
        );
        std::fs::write(&config, text).expect("a configuration");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's docker-registry");
        let registry = Self { child, address };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < PATIENCE, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
