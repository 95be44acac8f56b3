//! What a scripted container does, and which containers do it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::files::Files;
use crate::log::Stream;
use crate::runtime::{ContainerKind, ContainerSpec, ExecRequest};

/// Which containers a behaviour is for. What is None matches all; `*` in a pattern stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The container's name.
    pub container: Option<String>,
    /// The image's name.
    pub image: Option<String>,
    /// The node's name.
    pub node: Option<String>,
    /// Only starts with this number of restarts before them.
    pub restart_count: Option<u32>,
}

impl Matching {
    /// Every container.
    pub fn all() -> Self {
        Self::default()
    }

    /// Containers with this name (or pattern).
    pub fn container(pattern: impl Into<String>) -> Self {
        Self { container: Some(pattern.into()), ..Self::default() }
    }

    /// Containers of pods with this name (or pattern).
    pub fn pod(pattern: impl Into<String>) -> Self {
        Self { pod: Some(pattern.into()), ..Self::default() }
    }

    /// Containers with this image (or pattern).
    pub fn image(pattern: impl Into<String>) -> Self {
        Self { image: Some(pattern.into()), ..Self::default() }
    }

    /// Whether the container is one of them.
    pub fn matches(&self, spec: &ContainerSpec) -> bool {
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| glob(pattern, text));
        fits(&self.namespace, &spec.pod.namespace)
            && fits(&self.pod, &spec.pod.name)
            && fits(&self.container, &spec.name)
            && fits(&self.image, &spec.image)
            && fits(&self.node, &spec.pod.node)
            && self.restart_count.is_none_or(|count| count == spec.restart_count)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// How a container comes up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// It runs.
    #[default]
    Runs,
    /// Its program cannot be executed: [`crate::runtime::StartError::NotExecutable`] with this message.
    NotExecutable(String),
    /// It cannot be made: [`crate::runtime::StartError::Create`] with this message.
    Fails(String),
}

/// How long a container runs of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// For this long.
    For(Duration),
    /// Until it is told to end.
    UntilStopped,
    /// Until this long after another container of its pod has ended (also if that was before its own start).
    UntilEnded {
        /// The other container's name.
        container: String,
        /// From then.
        after: Duration,
    },
}

/// How a container ends.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Its exit code.
    pub exit_code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether it was for want of memory.
    pub oom_killed: bool,
    /// Its termination message.
    pub message: Message,
    /// What it still writes to standard output, made of what it can see. None: nothing.
    pub last_words: Option<LastWords>,
}

impl Ending {
    /// It exits with this code.
    pub fn exit(exit_code: i32) -> Self {
        Self { exit_code, ..Self::default() }
    }

    /// A signal ends it: exit code 128 + n.
    pub fn signal(signal: i32) -> Self {
        Self { exit_code: 128 + signal, signal: Some(signal), ..Self::default() }
    }

    /// The kernel ends it for want of memory: 137, `OOMKilled`.
    pub fn out_of_memory() -> Self {
        Self { oom_killed: true, ..Self::signal(9) }
    }

    /// With this termination message.
    pub fn saying(mut self, message: impl Into<Bytes>) -> Self {
        self.message = Message::Text(message.into());
        self
    }
}

/// Makes the last words of a container.
#[derive(Clone)]
pub struct LastWords(pub Arc<MakeMessage>);

impl fmt::Debug for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastWords")
    }
}

/// What a container leaves as termination message; cut to 4096 bytes like any.
#[derive(Clone, Default)]
pub enum Message {
    /// What it wrote to its `terminationMessagePath` ([`Write`]), if anything.
    #[default]
    AsWritten,
    /// This.
    Text(Bytes),
    /// Another file of the pod as this container sees it; empty if there is none. A result sidecar in short.
    File(String),
    /// What a function makes of the pod's files: a result sidecar with a format of its own.
    Made(Arc<MakeMessage>),
}

/// Makes a termination message from what the container can see.
pub type MakeMessage = dyn Fn(&View<'_>) -> Bytes + Send + Sync;

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsWritten => f.write_str("AsWritten"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::File(path) => write!(f, "File({path})"),
            Self::Made(_) => f.write_str("Made"),
        }
    }
}

/// A pod's files as one of its containers sees them.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) files: &'a Files,
    pub(super) spec: &'a ContainerSpec,
}

impl View<'_> {
    /// The content of a file, by its path in the container.
    pub fn file(&self, path: &str) -> Option<Bytes> {
        self.files.read(self.spec, path)
    }

    /// The container whose view it is.
    pub fn spec(&self) -> &ContainerSpec {
        self.spec
    }
}

/// What a container does when told to end.
#[derive(Clone, Debug, Default)]
pub enum OnTerm {
    /// SIGTERM's default: exit code 143 at once.
    #[default]
    Dies,
    /// It runs on until it ends by itself or is killed.
    Ignores,
    /// It ends so, this long afterwards, unless it has ended before.
    Ends {
        /// From the signal.
        after: Duration,
        /// How it ends.
        ending: Ending,
    },
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From the start.
    pub after: Duration,
    /// Where to.
    pub stream: Stream,
    /// What, without newline at its end.
    pub text: Bytes,
    /// Whether a newline ends it; without one the next line of the stream continues it.
    pub newline: bool,
}

/// A great many lines of output: `line 000000000042 xxxx…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The first line, from the start.
    pub after: Duration,
    /// From line to line; zero for all at once.
    pub every: Duration,
    /// How many.
    pub lines: u64,
    /// Bytes of a line without its newline, at least 18.
    pub width: u32,
    /// Where to.
    pub stream: Stream,
}

/// A file that the container writes.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// From the start.
    pub after: Duration,
    /// Its path in the container; in a mounted volume other containers of the pod see it too.
    pub path: String,
    /// What.
    pub content: Content,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.content.len())
    }
}

/// A file's content.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes that only count: for volumes over their limit.
    Size(u64),
}

impl Content {
    /// Bytes that it takes up.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Size(size) => *size,
        }
    }

    /// Whether it takes up none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The answer to an exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecReply {
    /// What the command writes to standard output.
    pub stdout: Bytes,
    /// What it writes to standard error.
    pub stderr: Bytes,
    /// Its exit code.
    pub exit_code: i32,
}

/// Answers an exec from what the container can see; None to leave it to the next rule.
pub type AnswerExec = dyn Fn(&ExecRequest, &View<'_>) -> Option<ExecReply> + Send + Sync;

/// What a container does. The default runs for a second, says nothing, and exits with 0.
#[derive(Clone)]
pub struct Behaviour {
    /// How it comes up.
    pub start: Start,
    /// How long it runs.
    pub run: Run,
    /// How it then ends.
    pub ending: Ending,
    /// What it does on SIGTERM.
    pub on_term: OnTerm,
    /// What it says.
    pub lines: Vec<Line>,
    /// What it says at length.
    pub volumes: Vec<Volume>,
    /// What it writes into files.
    pub writes: Vec<Write>,
    /// How it answers exec. None leaves only `cat PATH`, which is always known.
    pub exec: Option<Arc<AnswerExec>>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start: Start::Runs,
            run: Run::For(Duration::from_secs(1)),
            ending: Ending::default(),
            on_term: OnTerm::Dies,
            lines: Vec::new(),
            volumes: Vec::new(),
            writes: Vec::new(),
            exec: None,
        }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("start", &self.start)
            .field("run", &self.run)
            .field("ending", &self.ending)
            .field("on_term", &self.on_term)
            .field("lines", &self.lines)
            .field("volumes", &self.volumes)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl Behaviour {
    /// Runs for a while, then ends so.
    pub fn runs(duration: Duration, ending: Ending) -> Self {
        Self { run: Run::For(duration), ending, ..Self::default() }
    }

    /// Runs until it is told to end.
    pub fn forever() -> Self {
        Self { run: Run::UntilStopped, ..Self::default() }
    }

    /// Runs for ever and ignores SIGTERM.
    pub fn hangs() -> Self {
        Self { on_term: OnTerm::Ignores, ..Self::forever() }
    }

    /// A native sidecar that, told to end, exits with 0 and hands over `path` as its termination message.
    pub fn hands_over(path: impl Into<String>) -> Self {
        let ending = Ending { message: Message::File(path.into()), ..Ending::exit(0) };
        Self::forever().on_term(OnTerm::Ends { after: Duration::ZERO, ending })
    }

    /// What a container does for which no rule says anything: a sidecar runs until it is stopped, others are the default.
    pub fn unscripted(kind: ContainerKind) -> Self {
        match kind {
            ContainerKind::Sidecar => Self::forever(),
            ContainerKind::Init | ContainerKind::Main => Self::default(),
        }
    }

    /// With this reaction to SIGTERM.
    pub fn on_term(mut self, on_term: OnTerm) -> Self {
        self.on_term = on_term;
        self
    }

    /// And says a line on standard output.
    pub fn says(mut self, after: Duration, text: impl Into<Bytes>) -> Self {
        self.lines.push(Line { after, stream: Stream::Stdout, text: text.into(), newline: true });
        self
    }

    /// And says a great deal.
    pub fn says_much(mut self, volume: Volume) -> Self {
        self.volumes.push(volume);
        self
    }

    /// And writes a file.
    pub fn writes(mut self, after: Duration, path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.writes.push(Write { after, path: path.into(), content: Content::Bytes(content.into()) });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns() {
        for (pattern, text, is) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("*", "", true),
            ("ab*b", "ab", false),
            ("a*bc*c", "abc", false),
        ] {
            assert_eq!(glob(pattern, text), is, "{pattern} {text}");
        }
    }
}
