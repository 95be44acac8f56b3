//! What libraries have to say, with `-vv`.

use tracing_subscriber::EnvFilter;

/// Starts it: twice `-v`, the engine's requests; three times, their connections too. Once is the sentences' own: the evidence of each verdict.
pub(crate) fn start(verbose: u8) {
    let filter = match verbose {
        0 | 1 => return,
        2 => "kpo=debug,kpo_lab=warn",
        _ => "kpo=trace,hyper=debug,tower=debug",
    };
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_env_filter(EnvFilter::new(filter));
    // A second start in one process (a test) changes nothing.
    let _ = subscriber.try_init();
}
