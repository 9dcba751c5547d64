//! The bytes of a file: pages, of which those full of zeros cost nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

#[derive(Clone, Default)]
pub struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (at, bytes);
        self.len = self.len.max(at + bytes.len() as u64);
        while !rest.is_empty() {
            let (page, from) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let (part, behind) = rest.split_at(rest.len().min(PAGE - from));
            if self.pages.contains_key(&page) || *part != ZEROS[..part.len()] {
                let page = self.pages.entry(page).or_insert_with(|| Arc::new(ZEROS));
                Arc::make_mut(page)[from..from + part.len()].copy_from_slice(part);
            }
            (at, rest) = (at + part.len() as u64, behind);
        }
    }

    pub fn read(&self, at: u64, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < len {
            let place = at + done as u64;
            let from = (place % PAGE as u64) as usize;
            let count = (len - done).min(PAGE - from);
            let page = self.pages.get(&(place / PAGE as u64)).map_or(&ZEROS, |page| page);
            buffer[done..done + count].copy_from_slice(&page[from..from + count]);
            done += count;
        }
        len
    }

    pub fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        for (number, page) in &self.pages {
            let from = *number as usize * PAGE;
            let count = PAGE.min(bytes.len().saturating_sub(from));
            bytes[from..from + count].copy_from_slice(&page[..count]);
        }
        bytes
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (whole, rest) = (len / PAGE as u64, (len % PAGE as u64) as usize);
            self.pages.split_off(&(whole + u64::from(rest > 0)));
            if let Some(page) = self.pages.get_mut(&whole) {
                Arc::make_mut(page)[rest..].fill(0);
            }
        }
        self.len = len;
    }

    /// Bytes up to the last that is not zero: what a flipped bit should hit.
    pub fn used(&self) -> u64 {
        let last = self.pages.iter().rev().find_map(|(number, page)| {
            let last = page.iter().rposition(|byte| *byte != 0)?;
            Some(number * PAGE as u64 + last as u64 + 1)
        });
        last.unwrap_or(0).min(self.len)
    }
}
