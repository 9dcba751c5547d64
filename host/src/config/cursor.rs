//! Walks over config text character by character, keeping track of the place.

use super::value::Pos;

/// A position in a text. Copying it is the way to look ahead or come back.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    offset: usize,
    line: u32,
    line_start: usize,
    file: u16,
    /// Text from the environment has no place of its own: it stands where the variable stands.
    fixed: Option<Pos>,
}

impl<'t> Cursor<'t> {
    pub fn new(text: &'t str, file: u16) -> Self {
        Cursor { text, offset: 0, line: 1, line_start: 0, file, fixed: None }
    }

    pub fn standing_at(text: &'t str, place: Pos) -> Self {
        Cursor { fixed: Some(place), ..Cursor::new(text, place.file) }
    }

    pub fn peek(&self) -> Option<char> {
        self.text[self.offset..].chars().next()
    }

    pub fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.offset += found.len_utf8();
        if found == '\n' {
            self.line += 1;
            self.line_start = self.offset;
        }
        Some(found)
    }

    /// Steps over `wanted` if it is next.
    pub fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Steps over this many bytes, among them no new line, and returns them.
    pub fn skip_in_line(&mut self, bytes: usize) -> &'t str {
        let start = self.offset;
        self.offset += bytes;
        &self.text[start..self.offset]
    }

    /// Steps over characters as long as `wanted` says so, and returns them.
    pub fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let start = self.offset;
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
        &self.text[start..self.offset]
    }

    pub fn rest(&self) -> &'t str {
        &self.text[self.offset..]
    }

    /// What lies between an earlier copy of this cursor and here.
    pub fn since(&self, start: &Cursor<'t>) -> &'t str {
        &self.text[start.offset..self.offset]
    }

    pub fn pos(&self) -> Pos {
        let column = u32::try_from(self.offset - self.line_start).unwrap_or(u32::MAX - 1) + 1;
        self.fixed.unwrap_or(Pos { file: self.file, line: self.line, column })
    }
}
