//! What was printed, cut into batches.

/// One batch as printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub batch: u64,
    /// Its bytes, from its first banner line on.
    pub bytes: Vec<u8>,
}

const BANNER: &[u8] = b"-------------------------------------------\nBatch: ";

/// Cuts printed text where batches begin. Cells cannot begin one: a newline in them is escaped.
pub fn blocks(text: &[u8]) -> Vec<Block> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + BANNER.len() <= text.len() {
        let at_line = at == 0 || text[at - 1] == b'\n';
        if at_line && text[at..].starts_with(BANNER) {
            starts.push(at);
            at += BANNER.len();
        } else {
            at += 1;
        }
    }
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    let ends: Vec<usize> = ends.collect();
    let blocks = starts.iter().zip(ends).map(|(start, end)| {
        let number = text[start + BANNER.len()..end].iter().take_while(|byte| **byte != b'\n');
        let number: String = number.map(|byte| char::from(*byte)).collect();
        Block { batch: number.parse().unwrap_or(u64::MAX), bytes: text[*start..end].to_vec() }
    });
    blocks.collect()
}

impl Block {
    /// The table's lines with rows, as printed.
    pub fn rows(&self) -> Vec<&[u8]> {
        let mut rules = 0;
        let mut rows = Vec::new();
        for line in self.bytes.split(|byte| *byte == b'\n') {
            match line.first() {
                Some(b'+') => rules += 1,
                Some(b'|') if rules == 2 => rows.push(line),
                _ => {}
            }
        }
        rows
    }

    /// Every line but those with rows: banner, header, what follows the table.
    pub fn frame(&self) -> Vec<&[u8]> {
        let rows = self.rows();
        let lines = self.bytes.split(|byte| *byte == b'\n');
        lines.filter(|line| !rows.contains(line)).collect()
    }

    /// Whether rows were left out.
    pub fn is_cut(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().any(|line| line.starts_with("only showing top "))
    }

    /// The names of the columns.
    pub fn header(&self) -> Vec<String> {
        let mut lines = self.bytes.split(|byte| *byte == b'\n');
        lines.find(|line| line.first() == Some(&b'|')).map(cells).unwrap_or_default()
    }
}

/// A line's cells without the blanks around them. A `|` in a cell cuts it, on both sides alike.
pub fn cells(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line);
    let inner = text.strip_prefix('|').unwrap_or(&text);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}
