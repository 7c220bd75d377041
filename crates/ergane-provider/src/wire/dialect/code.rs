//! The code within a line of text: what stands in it is quoted.

/// The backticks of a line. As many as began a piece of code end it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Code {
    /// How many began the code that has not ended; none outside of code.
    begun: usize,
    /// How many stand right before.
    run: usize,
}

impl Code {
    pub(super) fn take(&mut self, c: char) {
        match c {
            '\n' => *self = Self::default(),
            '`' => self.run = self.run.saturating_add(1),
            _ => {
                match self.begun {
                    0 => self.begun = self.run,
                    begun if begun == self.run => self.begun = 0,
                    _ => {}
                }
                self.run = 0;
            }
        }
    }

    pub(super) fn just_begun(self) -> bool {
        self.run > 0 && self.begun == 0
    }
}
