//! Every path through a program that chooses, one after the other.

/// What was chosen so far, and out of how many. [`Choices::next`] goes on to the next path, last choice first.
#[derive(Default)]
pub struct Choices {
    tape: Vec<(usize, usize)>,
    position: usize,
}

impl Choices {
    /// One of `0..count`: each of them in some path.
    pub fn pick(&mut self, count: usize) -> usize {
        assert!(count > 0, "nothing to choose from");
        if self.position == self.tape.len() {
            self.tape.push((0, count));
        }
        let (chosen, of) = self.tape[self.position];
        assert_eq!(of, count, "the same choices must come again in the same order");
        self.position += 1;
        chosen
    }

    /// False when every path was taken.
    pub fn next(&mut self) -> bool {
        self.position = 0;
        while let Some((chosen, of)) = self.tape.pop() {
            if chosen + 1 < of {
                self.tape.push((chosen + 1, of));
                return true;
            }
        }
        false
    }

    /// For messages: what leads to the path that is being taken.
    pub fn path(&self) -> Vec<usize> {
        self.tape.iter().map(|(chosen, _)| *chosen).collect()
    }
}
