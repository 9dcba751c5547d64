//! A stretch of a read buffer: what operations point with instead of copying.

#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Span {
    pub at: u32,
    pub len: u32,
}

impl Span {
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.at as usize..][..self.len as usize]
    }
}
