//! A dockerd of one test's own, in a cage: a namespace of processes, mounts and networks that the kernel ends as a whole when
//! this process lets go of its standard input, come what may. No container, mount or link outlives the test.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use scuttle_tests::programs::process::Process;
use scuttle_tests::wait_until;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;

/// The image of all containers: Debian's static busybox.
pub(crate) const IMAGE: &str = "bait";

/// A container's command that ends at SIGTERM.
pub(crate) const OBEDIENT: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"];
/// One that does not.
pub(crate) const STUBBORN: [&str; 2] = ["sleep", "1000"];

/// Flags that make a container the cluster's.
pub(crate) const MANAGED: [&str; 2] = ["--label", "scuttle.managed=true"];

/// What the cage's first process does: it reaps what the others leave, until its input ends. /run is its own, so that
/// dockerd finds no containerd of the machine's there.
const INIT: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && cat > /dev/null; exit";

/// A dockerd. Dropping it ends it and all that runs in it.
#[derive(Debug)]
pub(crate) struct Daemon {
    cage: Child,
    /// The cage's first process.
    init: u32,
    dockerd: Option<Process>,
    dir: TempDir,
}

impl Daemon {
    /// Starts a dockerd that has the image.
    ///
    /// # Errors
    /// Something that it needs is missing, or it does not start.
    pub(crate) async fn start() -> Result<Self> {
        let dir = TempDir::with_prefix("scuttle-")?;
        let cage = std::process::Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--mount-proc", "--fork"])
            .args(["--kill-child", "sh", "-c", INIT])
            .stdin(Stdio::piped())
            .spawn()
            .context("start unshare (of util-linux)")?;
        let outer = cage.id();
        let mut daemon = Self {
            cage,
            init: 0,
            dockerd: None,
            dir,
        };
        daemon.init = child_of(outer).await?;
        daemon.resume().await?;
        daemon.import_image().await?;
        Ok(daemon)
    }

    /// Starts dockerd, again after `stop` or `kill`, and waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn resume(&mut self) -> Result<()> {
        let dir = self.dir.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let file = |name: &str| dir.join(name).display().to_string();
        let mut command = self.inside("dockerd");
        command
            .args(["--host", &self.host(), "--data-root", &file("data")])
            .args(["--exec-root", &file("exec"), "--pidfile", &file("pid")])
            // No rules of a firewall, no proxies: the containers speak to nobody.
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--ip-forward=false",
            ])
            .args(["--ip-masq=false", "--userland-proxy=false", "--bridge=none"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", &format!("/{name}")])
            .args(["--shutdown-timeout", "1"]);
        let mut process = Process::spawn("dockerd", command, &dir.join("dockerd.log"))?;
        let socket = self.socket();
        let answers = || {
            let ended = process.ensure_running().map_err(|end| format!("{end:#}"));
            let connected = UnixStream::connect(&socket);
            async move {
                match ended {
                    Err(end) => Ok(Err(end)),
                    Ok(()) => connected.await.map(|_| Ok(())),
                }
            }
        };
        let answers = wait_until("dockerd answers", answers, |_| true).await?;
        answers.map_err(anyhow::Error::msg)?;
        self.dockerd = Some(process);
        Ok(())
    }

    /// Stops dockerd as its service manager would: it ends its containers first.
    ///
    /// # Errors
    /// It does not stop.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.end("TERM").await
    }

    /// Kills dockerd (SIGKILL): its containers go on.
    ///
    /// # Errors
    /// It cannot be killed.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.end("KILL").await
    }

    async fn end(&mut self, signal: &str) -> Result<()> {
        self.signal(signal).await?;
        let mut process = self.dockerd.take().context("dockerd does not run")?;
        process.wait_for_exit().await?;
        Ok(())
    }

    /// Stops dockerd where it is (SIGSTOP): it takes connections and answers none.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.signal("STOP").await
    }

    /// Lets it go on after `freeze`.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) async fn thaw(&self) -> Result<()> {
        // nsenter has stopped with it, and lets it go on when it does so itself.
        let nsenter = self.dockerd.as_ref().context("dockerd does not run")?;
        nsenter.send_signal("CONT").await
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let nsenter = self.dockerd.as_ref().and_then(Process::id);
        // nsenter, which stays outside the cage, has dockerd as its only child.
        let dockerd = child_of(nsenter.context("dockerd does not run")?).await?;
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal])
            .arg(dockerd.to_string())
            .status()
            .await?;
        ensure!(sent.success(), "kill -s {signal} {dockerd}: {sent}");
        Ok(())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// The same, as `--docker` and `DOCKER_HOST` take it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A program in the cage.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string()])
            .args(["--mount", "--net", "--pid", program]);
        command
    }

    /// Runs the docker client, and returns what it prints.
    ///
    /// # Errors
    /// It fails.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> Result<String> {
        self.client("docker".as_ref(), arguments).await
    }

    /// Runs a container of a Compose project, with more flags of `docker run`.
    ///
    /// # Errors
    /// It fails.
    pub(crate) async fn run(
        &self,
        project: &str,
        name: &str,
        flags: &[&str],
        command: &[&str],
    ) -> Result<()> {
        let project = format!("com.docker.compose.project={project}");
        let service = format!("com.docker.compose.service={name}");
        let mut words = vec!["run", "--detach", "--name", name, "--label", &project];
        words.extend(["--label", &service]);
        if !flags.contains(&"--network") {
            words.extend(["--network", "none"]);
        }
        words.extend(flags);
        words.push(IMAGE);
        words.extend(command);
        self.docker(&words).await.map(|_| ())
    }

    /// Writes a Compose file into a directory of its own, and runs `docker compose` on it.
    ///
    /// # Errors
    /// It fails.
    pub(crate) async fn compose(
        &self,
        project: &str,
        yaml: &str,
        arguments: &[&str],
    ) -> Result<()> {
        let file = self.dir.path().join(format!("{project}.yaml"));
        fs::write(&file, yaml)?;
        let file = file.display().to_string();
        let words = [&["--project-name", project, "--file", &file], arguments].concat();
        let compose = std::env::var_os("SCUTTLE_COMPOSE").context(
            "SCUTTLE_COMPOSE names no docker-compose: `cargo xtask test --docker` installs one",
        )?;
        self.client(compose.as_ref(), &words).await.map(|_| ())
    }

    /// The names of all containers, sorted, in one line.
    ///
    /// # Errors
    /// dockerd does not answer.
    pub(crate) async fn containers(&self) -> Result<String> {
        self.names(&["ps", "--all", "--format", "{{.Names}}"]).await
    }

    /// The names of all networks but Docker's own.
    ///
    /// # Errors
    /// dockerd does not answer.
    pub(crate) async fn networks(&self) -> Result<String> {
        let listing = [
            "network",
            "ls",
            "--filter",
            "type=custom",
            "--format",
            "{{.Name}}",
        ];
        self.names(&listing).await
    }

    /// The names of all volumes.
    ///
    /// # Errors
    /// dockerd does not answer.
    pub(crate) async fn volumes(&self) -> Result<String> {
        self.names(&["volume", "ls", "--format", "{{.Name}}"]).await
    }

    async fn names(&self, listing: &[&str]) -> Result<String> {
        let printed = self.docker(listing).await?;
        let mut names: Vec<_> = printed.split_whitespace().collect();
        names.sort_unstable();
        Ok(names.join(" "))
    }

    async fn client(&self, program: &std::ffi::OsStr, arguments: &[&str]) -> Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("start {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} {}: {}\n{}",
            program.display(),
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn import_image(&self) -> Result<()> {
        let root = self.dir.path().join("root");
        fs::create_dir_all(root.join("bin"))?;
        fs::copy("/bin/busybox", root.join("bin/busybox")).context("no busybox-static in /bin")?;
        for applet in ["sh", "sleep", "true", "cat"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        let tar = self.dir.path().join("root.tar").display().to_string();
        let packed = Command::new("tar")
            .args(["-C", &root.display().to_string(), "-cf", &tar, "."])
            .status()
            .await?;
        ensure!(packed.success(), "tar: {packed}");
        self.docker(&["import", &tar, IMAGE]).await.map(|_| ())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // First what is half outside: it would keep a dead dockerd waiting to be fetched, and that the cage.
        drop(self.dockerd.take());
        drop(self.cage.stdin.take());
        let name = self.dir.path().file_name().unwrap_or_default();
        let cgroups = format!("*/{}*", name.to_string_lossy());
        // What is paused does not even die.
        for (state, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let write = format!("echo {thawed} > \"$1\"");
            let _ = std::process::Command::new("find")
                .args(["/sys/fs/cgroup", "-path", &cgroups, "-name", state])
                .args(["-exec", "sh", "-c", &write, "sh", "{}", ";"])
                .stderr(Stdio::null())
                .status();
        }
        // unshare ends when all that was in the cage has ended: then no mount keeps the directory.
        let _ = self.cage.wait();
        // What is not there need not be removed.
        let _ = std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &cgroups])
            .arg("-delete")
            .stderr(Stdio::null())
            .status();
    }
}

/// The only child of a process.
async fn child_of(parent: u32) -> Result<u32> {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child = || async {
        let listed = fs::read_to_string(&children).map_err(|error| error.to_string())?;
        listed.trim().parse::<u32>().map_err(|_| listed)
    };
    wait_until("a process has a child", child, |_| true).await
}
