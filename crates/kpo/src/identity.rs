//! Random names: a task's nonce, an observer's id.

/// 64 bits of the system's randomness as hex.
fn random() -> String {
    // Linux and macOS answer since their early boot: a system without randomness could not make a TLS connection either.
    let bits = getrandom::u64().expect("the system has a source of randomness");
    format!("{bits:016x}")
}

/// A task's nonce: 128 bits, so that no two tasks ever share one.
pub fn nonce() -> String {
    random() + &random()
}

/// An observer's id: unique for a process's view of a task. It stands in an annotation that others read: no host name in it.
pub fn observer() -> String {
    format!("kpo-{}", random())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_alike() {
        assert_ne!(super::nonce(), super::nonce());
        assert_eq!(super::nonce().len(), 32);
        assert_eq!(super::observer().len(), 4 + 16);
    }
}
