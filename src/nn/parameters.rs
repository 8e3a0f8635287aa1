//! The parameters of a model: names, shapes, and their places in one flat buffer.
//!
//! Parameters that share their optimizer settings lie side by side, so that one pass updates them all; constants
//! (sinusoids) stand behind everything that is trained.

use super::init::Init;
use crate::config::Optimizer;
use crate::graph::{Graph, Id};
use crate::ops::optimizer::Segment;

/// Parameters start on a cache line: 16 elements of 4 bytes.
const ALIGNMENT: usize = 16;

/// Which half of a model a parameter belongs to: each has its own learning rate and weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Encoder,
    Decoder,
}

/// A parameter of [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter(usize);

/// One parameter's description.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub shape: Vec<usize>,
    pub part: Part,
    pub init: Init,
    /// Elements from the start of the flat buffer.
    pub offset: usize,
}

impl Spec {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_trained(&self) -> bool {
        !matches!(self.init, Init::Constant(_))
    }

    /// Matrices decay; norms, biases and learned positions do not.
    fn decays(&self) -> bool {
        self.shape.len() == 2 && !self.name.ends_with("positions")
    }

    fn group(&self) -> (bool, Part, bool) {
        (!self.is_trained(), self.part, !self.decays())
    }
}

/// All parameters of a model.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    specs: Vec<Spec>,
    trained: usize,
    constant: usize,
}

impl Parameters {
    /// Registers a parameter. Its place is decided by [`Parameters::lay_out`].
    pub fn add(&mut self, part: Part, name: impl Into<String>, shape: &[usize], init: Init) -> Parameter {
        self.specs.push(Spec { name: name.into(), shape: shape.to_vec(), part, init, offset: usize::MAX });
        Parameter(self.specs.len() - 1)
    }

    /// Gives every parameter its place.
    pub fn lay_out(&mut self) {
        let mut order: Vec<usize> = (0..self.specs.len()).collect();
        order.sort_by_key(|&i| (self.specs[i].group(), i));
        let mut end = 0;
        (self.trained, self.constant) = (0, 0);
        for i in order {
            let spec = &mut self.specs[i];
            spec.offset = end;
            end += spec.len().next_multiple_of(ALIGNMENT);
            if spec.is_trained() {
                self.trained = end;
            }
        }
        self.constant = end - self.trained;
    }

    /// The parameter as a tensor of `graph`.
    pub fn on(&self, graph: &mut Graph, parameter: Parameter) -> Id {
        let spec = &self.specs[parameter.0];
        assert_ne!(spec.offset, usize::MAX, "lay_out comes before tracing");
        if spec.is_trained() {
            graph.weight(&spec.name, &spec.shape, spec.offset)
        } else {
            graph.constant(&spec.name, &spec.shape, spec.offset)
        }
    }

    /// Its shape.
    pub fn shape(&self, parameter: Parameter) -> &[usize] {
        &self.specs[parameter.0].shape
    }

    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Elements of the flat buffer that are trained, padding included.
    pub fn trained(&self) -> usize {
        self.trained
    }

    /// Elements of constants behind them.
    pub fn constant(&self) -> usize {
        self.constant
    }

    /// Number of trained values, without padding.
    pub fn count(&self) -> usize {
        self.specs.iter().filter(|s| s.is_trained()).map(Spec::len).sum()
    }

    /// The optimizer's settings along the flat buffer.
    pub fn segments(&self, optimizer: &Optimizer) -> Vec<Segment> {
        let mut order: Vec<&Spec> = self.specs.iter().filter(|s| s.is_trained()).collect();
        order.sort_by_key(|s| s.offset);
        let mut segments: Vec<Segment> = Vec::new();
        for spec in order {
            let (learning_rate, decay) = match spec.part {
                Part::Encoder => (optimizer.encoder_learning_rate, optimizer.encoder_weight_decay),
                Part::Decoder => (optimizer.decoder_learning_rate, optimizer.decoder_weight_decay),
            };
            let weight_decay = if spec.decays() { decay } else { 0.0 };
            let len = spec.len().next_multiple_of(ALIGNMENT);
            match segments.last_mut() {
                Some(last) if last.learning_rate == learning_rate && last.weight_decay == weight_decay => {
                    last.len += len;
                }
                _ => segments.push(Segment { start: spec.offset, len, learning_rate, weight_decay }),
            }
        }
        segments
    }

    /// Writes every parameter's initial value into the flat buffer.
    pub fn initialise(&self, seed: u64, flat: &mut [f32]) {
        for (number, spec) in self.specs.iter().enumerate() {
            spec.init.fill(seed, number as u32, &mut flat[spec.offset..spec.offset + spec.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lie_apart_and_segments_cover_them() {
        let mut parameters = Parameters::default();
        for i in 0..7 {
            let part = if i % 2 == 0 { Part::Encoder } else { Part::Decoder };
            parameters.add(part, format!("m{i}"), &[3, 5 + i], Init::Ones);
            parameters.add(part, format!("b{i}"), &[i + 1], Init::Zeros);
            parameters.add(part, format!("c{i}"), &[2, 2], Init::Constant(vec![0.5; 4]));
        }
        parameters.lay_out();
        let mut seen = vec![0; parameters.trained() + parameters.constant()];
        for spec in parameters.specs() {
            seen[spec.offset..spec.offset + spec.len()].iter_mut().for_each(|n| *n += 1);
            assert_eq!(spec.is_trained(), spec.offset < parameters.trained());
        }
        assert!(seen.iter().all(|&n| n <= 1));
        let segments = parameters.segments(&Optimizer { decoder_learning_rate: 0.5, ..Optimizer::default() });
        let mut end = 0;
        for segment in &segments {
            assert_eq!(segment.start, end);
            end += segment.len;
        }
        assert_eq!(end, parameters.trained());
        assert_eq!(segments.len(), 4, "encoder and decoder, with and without decay");
    }
}
