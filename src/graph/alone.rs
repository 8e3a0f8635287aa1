//! One node of a graph by itself, to be timed: with the tensors that it touches and no other memory.

use super::{Graph, Node, Role, State};

/// Parameters begin on a multiple of this many elements, as [`crate::nn::Parameters`] lays them out.
const ALIGNMENT: usize = 16;

impl Graph {
    /// A graph of node `index` alone, and how many elements of flat buffers it needs: the parameters that it touches
    /// stand at their front. `None` where it touches the guard, which is not a matter of one node.
    pub fn alone(&self, index: usize) -> Option<(Graph, usize)> {
        let node = &self.nodes[index];
        let mut touched = vec![false; self.tensors.len()];
        for &id in node.inputs.iter().chain(&node.outputs).chain(&node.workspace) {
            touched[self.root(id).index()] = true;
        }
        let mut graph = Graph::storing(self.storage);
        // Elements taken so far of each flat buffer.
        let mut taken = [0; 5];
        for (tensor, touched) in self.tensors.iter().zip(touched) {
            let mut tensor = tensor.clone();
            let elements = tensor.len().next_multiple_of(ALIGNMENT);
            tensor.kept = touched;
            match (touched, &mut tensor.role) {
                (_, Role::View { .. } | Role::Reshaped { .. }) => tensor.kept = false,
                // What no node touches and nobody keeps gets no memory.
                (false, role) => *role = Role::Activation,
                (true, role) => {
                    let (buffer, offset) = match role {
                        Role::Weight(offset) => (0, offset),
                        Role::WeightGradient(offset) => (1, offset),
                        Role::State(State::FirstMoment, offset) => (2, offset),
                        Role::State(State::SecondMoment, offset) => (3, offset),
                        Role::State(State::Average, offset) => (4, offset),
                        Role::State(State::Guard, _) => return None,
                        _ => {
                            graph.insert(tensor);
                            continue;
                        }
                    };
                    *offset = taken[buffer];
                    taken[buffer] += elements;
                }
            }
            graph.insert(tensor);
        }
        let Node { op, inputs, outputs, workspace } = node;
        graph.nodes.push(Node {
            op: op.clone(),
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            workspace: *workspace,
        });
        Some((graph, taken.into_iter().max().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Program, Region};
    use super::super::{DType, Role};
    use super::*;
    use crate::device::{Device, Memory, Sizes, StepState};
    use crate::ops::linear::linear;

    #[test]
    fn a_node_alone_computes_what_it_does_in_its_graph_and_takes_less() {
        let mut g = Graph::new();
        let x = g.input("x", &[2, 3], DType::F32);
        let (first, second) = (g.weight("first", &[300, 3], 0), g.weight("second", &[2, 300], 1024));
        let inner = linear(&mut g, x, first, None, None).expect("shapes that fit");
        linear(&mut g, inner, second, None, None).expect("shapes that fit");
        let (alone, elements) = g.alone(1).expect("a node without state");
        assert_eq!(elements, 608, "the second weight alone");
        assert_eq!(alone.tensor(second).role, Role::Weight(0));
        let program = Program::new(alone, Region::Work);
        // The input's 2 x 300 and the output's 2 x 2, on whole cache lines; x takes nothing.
        assert_eq!(program.arena, 2432 + 64);
        let sizes = Sizes { trained: elements, ..Sizes::default() };
        let mut memory = Memory::new(Device::Cpu, sizes).expect("memory");
        memory.reserve(&program).expect("memory");
        memory.write(&program, inner, &[1.0f32; 600]);
        memory.set_flat(Region::Weights, 0, &[0.5; 600]);
        Device::Cpu.run(&program, &mut memory, &StepState::default()).expect("it runs");
        let output = program.nodes[0].outputs[0];
        assert_eq!(memory.read(&program, output).as_ref(), [150.0; 4]);
    }
}
