//! Where records are put together: a plain buffer, or one from which the disk takes bytes itself.

use aligned_vec::{AVec, ConstAlign};
use std::ops::DerefMut;

/// What goes past the system's cache begins and ends at multiples of this, in memory and in the file.
pub const SECTOR: usize = 4096;

/// Memory that begins so.
pub type Aligned = AVec<u8, ConstAlign<SECTOR>>;

pub trait Out: DerefMut<Target = [u8]> {
    fn push(&mut self, byte: u8);
    fn extend_from_slice(&mut self, bytes: &[u8]);
    /// Adds zeros up to a length.
    fn pad(&mut self, len: usize);
}

impl Out for Vec<u8> {
    fn push(&mut self, byte: u8) {
        Vec::push(self, byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        Vec::extend_from_slice(self, bytes);
    }

    fn pad(&mut self, len: usize) {
        self.resize(len, 0);
    }
}

impl Out for Aligned {
    fn push(&mut self, byte: u8) {
        AVec::push(self, byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        AVec::extend_from_slice(self, bytes);
    }

    fn pad(&mut self, len: usize) {
        static ZEROS: [u8; SECTOR] = [0; SECTOR];
        while self.len() < len {
            let missing = (len - self.len()).min(SECTOR);
            AVec::extend_from_slice(self, &ZEROS[..missing]);
        }
    }
}
