//! Tells whether a text is a public nkey, for keys that stand in a config (JWT-005).
//!
//! Not here: signatures.

/// The first letter says the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Account,
    User,
}

/// Whether `text` is a well-formed public key, of the given role if there is one.
pub fn is_public(text: &str, role: Option<Role>) -> bool {
    let letters: &[u8] = match role {
        Some(Role::Account) => b"A",
        Some(Role::User) => b"U",
        None => b"ACNOUX",
    };
    let Ok(raw) = data_encoding::BASE32_NOPAD.decode(text.as_bytes()) else {
        return false;
    };
    let Some((body, checksum)) = raw.split_last_chunk::<2>() else {
        return false;
    };
    body.len() == 33
        && text.bytes().next().is_some_and(|first| letters.contains(&first))
        && crc16_xmodem(body) == u16::from_le_bytes(*checksum)
}

fn crc16_xmodem(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Role, is_public};

    const USER: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn a_user_key_is_public_and_of_its_role() {
        assert!(is_public(USER, None));
        assert!(is_public(USER, Some(Role::User)));
        assert!(!is_public(USER, Some(Role::Account)));
    }

    #[test]
    fn a_changed_letter_or_a_word_is_refused() {
        assert!(!is_public(&USER.replace("4RCS", "4RCT"), None));
        assert!(!is_public("abc", None));
        assert!(!is_public("", None));
    }
}
