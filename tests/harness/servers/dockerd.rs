//! A separate dockerd for each test, in a sandbox: separate namespaces for processes, mounts and
//! networks.
//!
//! The sandbox ends when the test process closes the standard input of the sandbox's first process,
//! which also happens when the test process dies. The kernel then ends everything in the sandbox.
//! No container, mount or network link outlives the test.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::faults::engine_proxy::Object;
use crate::programs::process::Process;
use crate::wait::wait_until;

/// The name of the image of all containers. It contains Debian's static busybox.
pub const IMAGE: &str = "bait";

/// The command of a container that exits on SIGTERM.
pub const STOPS_ON_SIGTERM: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"];
/// The command of a container that ignores SIGTERM.
pub const IGNORES_SIGTERM: [&str; 2] = ["sleep", "1000"];

/// The flags of `docker run` that make a container part of a decky.
pub const MANAGED: [&str; 2] = ["--label", "scuttle.managed=true"];

/// The script of the sandbox's first process. It runs until its standard input ends. It mounts a
/// separate /run, so that dockerd does not find the machine's containerd there.
const INIT: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && cat > /dev/null; exit";

/// An event of a container, as `docker events` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The action, such as `kill`, `die` or `destroy`.
    pub action: String,
    /// The container's name.
    pub container: String,
    /// The exit code of the container's process, for the action `die`.
    pub exit_code: Option<u8>,
}

/// A running dockerd. Dropping this struct ends dockerd and all its containers.
#[derive(Debug)]
pub struct Daemon {
    cage: Child,
    /// The id of the sandbox's first process.
    init: u32,
    dockerd: Option<Process>,
    dir: TempDir,
}

impl Daemon {
    /// Starts a sandbox with a dockerd, and imports the image.
    ///
    /// # Errors
    /// If a program that the sandbox needs is missing, or dockerd does not start.
    pub async fn start() -> Result<Self> {
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
        daemon.init = find_child(outer).await?;
        daemon.resume().await?;
        daemon.import_image().await?;
        Ok(daemon)
    }

    /// Starts dockerd, for the first time or after [`Self::stop`] or [`Self::kill`], and waits
    /// until it responds.
    pub async fn resume(&mut self) -> Result<()> {
        let dir = self.dir.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let file = |name: &str| dir.join(name).display().to_string();
        let mut command = self.sandboxed_command("dockerd");
        command
            .args(["--host", &self.host(), "--data-root", &file("data")])
            .args(["--exec-root", &file("exec"), "--pidfile", &file("pid")])
            // Without firewall rules and proxies: the containers need no network access.
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
        let replies = || {
            let ended = process.ensure_running().map_err(|end| format!("{end:#}"));
            let connected = UnixStream::connect(&socket);
            async move {
                match ended {
                    Err(end) => Ok(Err(end)),
                    Ok(()) => connected.await.map(|_| Ok(())),
                }
            }
        };
        let replies = wait_until("dockerd responds", replies, |_| true).await?;
        replies.map_err(anyhow::Error::msg)?;
        self.dockerd = Some(process);
        Ok(())
    }

    /// Keeps the log of the running dockerd out of the output when this value is dropped.
    pub fn silence(&mut self) {
        if let Some(dockerd) = &mut self.dockerd {
            dockerd.quiet = true;
        }
    }

    /// Stops dockerd as a service manager would, with SIGTERM. Dockerd ends its containers first.
    pub async fn stop(&mut self) -> Result<()> {
        self.end("TERM").await
    }

    /// Kills dockerd with SIGKILL. Its containers continue to run.
    pub async fn kill(&mut self) -> Result<()> {
        self.end("KILL").await
    }

    async fn end(&mut self, signal: &str) -> Result<()> {
        self.signal(signal).await?;
        let mut process = self.dockerd.take().context("dockerd does not run")?;
        process.wait_for_exit().await?;
        Ok(())
    }

    /// Suspends dockerd with SIGSTOP. Connections to its socket succeed, but get no response.
    pub async fn freeze(&self) -> Result<()> {
        self.signal("STOP").await
    }

    /// Continues a dockerd that [`Self::freeze`] has suspended, with SIGCONT.
    pub async fn thaw(&self) -> Result<()> {
        // nsenter was suspended together with dockerd. It resumes dockerd when it is resumed
        // itself.
        let nsenter = self.dockerd.as_ref().context("dockerd does not run")?;
        nsenter.send_signal("CONT").await
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let nsenter = self.dockerd.as_ref().and_then(Process::id);
        // nsenter, which is outside the sandbox, has dockerd as its only child.
        let dockerd = find_child(nsenter.context("dockerd does not run")?).await?;
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal])
            .arg(dockerd.to_string())
            .status()
            .await?;
        ensure!(sent.success(), "kill -s {signal} {dockerd}: {sent}");
        Ok(())
    }

    /// Returns the path of dockerd's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Returns the address of dockerd's socket, as `--docker` and `DOCKER_HOST` expect it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns a command that runs a program in the sandbox.
    pub fn sandboxed_command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string()])
            .args(["--mount", "--net", "--pid", program]);
        command
    }

    /// Returns a command that replaces itself with a program which sees the mounts of the sandbox
    /// and is otherwise outside the sandbox.
    pub fn mount_launcher(&self) -> Vec<String> {
        let init = self.init.to_string();
        ["nsenter", "--target", &init, "--mount"]
            .map(ToOwned::to_owned)
            .into()
    }

    /// Runs a shell script in the sandbox and returns its standard output.
    pub async fn run_script(&self, script: &str) -> Result<String> {
        let mut command = self.sandboxed_command("sh");
        let output = command.args(["-c", script]).output().await?;
        ensure!(output.status.success(), "{script}: {output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Suspends the shim of a running container with SIGSTOP. The Engine then waits for the shim
    /// in every call that stops or removes the container.
    pub async fn freeze_shim(&self, container: &str) -> Result<()> {
        let inspect = ["inspect", "--format", "{{.State.Pid}}", container];
        let process = self.docker(&inspect).await?;
        let status = format!("/proc/{}/status", process.trim());
        let script = format!("kill -s STOP $(sed -n 's/^PPid:\\s*//p' {status})");
        self.run_script(&script).await.map(drop)
    }

    /// Returns the id and the name of a container or a network.
    pub async fn find_object(&self, name: &str) -> Result<Object> {
        let id = self
            .docker(&["inspect", "--format", "{{.Id}}", name])
            .await?;
        Ok(Object {
            id: id.trim().to_owned(),
            name: name.to_owned(),
        })
    }

    /// Returns the events of all containers up to now, oldest first.
    pub async fn list_events(&self) -> Result<Vec<ContainerEvent>> {
        let until = format!("{:.9}", std::time::UNIX_EPOCH.elapsed()?.as_secs_f64());
        let format = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}";
        let printed = self
            .docker(&[
                "events",
                "--since",
                "1",
                "--until",
                &until,
                "--filter",
                "type=container",
                "--format",
                format,
            ])
            .await?;
        let parse = |line: &str| {
            let mut words = line.split_whitespace().map(ToOwned::to_owned);
            Some(ContainerEvent {
                action: words.next()?,
                container: words.next()?,
                exit_code: words.next().and_then(|code| code.parse().ok()),
            })
        };
        Ok(printed.lines().filter_map(parse).collect())
    }

    /// Runs the `docker` client with these arguments and returns its standard output.
    pub async fn docker(&self, arguments: &[&str]) -> Result<String> {
        self.run_client("docker".as_ref(), arguments).await
    }

    /// Creates a network as Compose would for a project. `flags` are further flags of
    /// `docker network create`.
    pub async fn create_network(&self, project: &str, name: &str, flags: &[&str]) -> Result<()> {
        let label = format!("com.docker.compose.project={project}");
        let create = ["network", "create", "--label", &label];
        self.docker(&[&create[..], flags, &[name]].concat())
            .await
            .map(drop)
    }

    /// Starts a container that belongs to no project, in this network.
    pub async fn run_foreign(&self, name: &str, network: &str) -> Result<()> {
        let run = [
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            network,
            IMAGE,
        ];
        self.docker(&[&run[..], &IGNORES_SIGTERM].concat())
            .await
            .map(drop)
    }

    /// Starts a container as Compose would, as the service `name` of a project. `flags` are further
    /// flags of `docker run`.
    pub async fn run(
        &self,
        project: &str,
        name: &str,
        flags: &[&str],
        command: &[&str],
    ) -> Result<()> {
        let project = format!("com.docker.compose.project={project}");
        let service = format!("com.docker.compose.service={name}");
        let mut arguments = vec!["run", "--detach", "--name", name, "--label", &project];
        arguments.extend(["--label", &service]);
        if !flags.contains(&"--network") {
            arguments.extend(["--network", "none"]);
        }
        arguments.extend(flags);
        arguments.push(IMAGE);
        arguments.extend(command);
        self.docker(&arguments).await.map(|_| ())
    }

    /// Writes `yaml` to a Compose file and runs `docker compose` on it with these arguments.
    pub async fn compose(&self, project: &str, yaml: &str, arguments: &[&str]) -> Result<()> {
        let file = self.dir.path().join(format!("{project}.yaml"));
        fs::write(&file, yaml)?;
        let file = file.display().to_string();
        let arguments = [&["--project-name", project, "--file", &file], arguments].concat();
        let compose = std::env::var_os("SCUTTLE_COMPOSE").context(
            "SCUTTLE_COMPOSE names no docker-compose: `cargo xtask test --docker` installs one",
        )?;
        self.run_client(compose.as_ref(), &arguments)
            .await
            .map(|_| ())
    }

    /// Returns the names of all containers, sorted and separated by spaces.
    pub async fn containers(&self) -> Result<String> {
        self.list_names(&["ps", "--all", "--format", "{{.Names}}"])
            .await
    }

    /// Returns the names of the running containers, sorted and separated by spaces.
    pub async fn running_containers(&self) -> Result<String> {
        self.list_names(&["ps", "--format", "{{.Names}}"]).await
    }

    /// Returns the names of all images, sorted and separated by spaces.
    pub async fn images(&self) -> Result<String> {
        let format = "{{.Repository}}:{{.Tag}}";
        self.list_names(&["image", "ls", "--format", format]).await
    }

    /// Returns the names of all networks except Docker's own, sorted and separated by spaces.
    pub async fn networks(&self) -> Result<String> {
        let listing = [
            "network",
            "ls",
            "--filter",
            "type=custom",
            "--format",
            "{{.Name}}",
        ];
        self.list_names(&listing).await
    }

    /// Returns the names of all volumes, sorted and separated by spaces.
    pub async fn volumes(&self) -> Result<String> {
        self.list_names(&["volume", "ls", "--format", "{{.Name}}"])
            .await
    }

    async fn list_names(&self, listing: &[&str]) -> Result<String> {
        let printed = self.docker(listing).await?;
        let mut names: Vec<_> = printed.split_whitespace().collect();
        names.sort_unstable();
        Ok(names.join(" "))
    }

    async fn run_client(&self, program: &std::ffi::OsStr, arguments: &[&str]) -> Result<String> {
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

    /// Imports the image again under another name. The new image shares no id with the others.
    pub async fn import_copy(&self, name: &str) -> Result<()> {
        let tar = self.dir.path().join("root.tar").display().to_string();
        let message = format!("imported as {name}");
        let import = ["import", "--message", &message, &tar, name];
        self.docker(&import).await.map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Processes that are partly outside come first: otherwise a dead dockerd waits to be reaped
        // by nsenter, and the sandbox waits for dockerd.
        drop(self.dockerd.take());
        drop(self.cage.stdin.take());
        let name = self.dir.path().file_name().unwrap_or_default();
        let cgroups = format!("*/{}*", name.to_string_lossy());
        // A paused container does not end even on SIGKILL.
        for (state, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let write = format!("echo {thawed} > \"$1\"");
            let _ = std::process::Command::new("find")
                .args(["/sys/fs/cgroup", "-path", &cgroups, "-name", state])
                .args(["-exec", "sh", "-c", &write, "sh", "{}", ";"])
                .stderr(Stdio::null())
                .status();
        }
        // unshare ends when all processes of the sandbox have ended. Then no mount uses the
        // directory any longer.
        let _ = self.cage.wait();
        // Errors mean that there is nothing to remove.
        let _ = std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &cgroups])
            .arg("-delete")
            .stderr(Stdio::null())
            .status();
    }
}

/// Waits until a process has exactly one child, and returns the child's id.
async fn find_child(parent: u32) -> Result<u32> {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child = || async {
        let listed = fs::read_to_string(&children).map_err(|error| error.to_string())?;
        listed.trim().parse::<u32>().map_err(|_| listed)
    };
    wait_until("a process has a child", child, |_| true).await
}
