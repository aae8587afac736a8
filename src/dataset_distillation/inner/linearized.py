"""A function and its vector-Jacobian product, traced together and split into two programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor import compile as compile_graph
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from dataset_distillation.inner.rounding import ERROR, excess, nudged, off_zero
from dataset_distillation.kernels import kernels

Tensors = Sequence[Tensor]

RANDOM = torch.Tag.nondeterministic_seeded


class Linearized:
    """`function` of tensors of the shapes of `inputs`, as a program there and a program back.

    The program there returns the outputs, and of what it has computed on the way what the program back needs:
    nothing is computed twice. The program back returns the vector-Jacobian product for the inputs that are
    `learned`. `function` may itself compute gradients. Whatever changes between calls must be an input.
    """

    def __init__(
        self,
        function: Callable[..., Tensors],
        inputs: Tensors,
        learned: Sequence[bool],
        compiled: bool = False,
    ) -> None:
        inputs = [tensor.detach() for tensor in inputs]
        joint, self.outputs = _joint(function, inputs, learned)
        *places, result = (node for node in joint.graph.nodes if node.op in ("placeholder", "output"))
        results = list(result.args[0])
        primals, adjoint = places[: len(inputs)], places[len(inputs) :]
        after, gradients = results[: self.outputs], results[self.outputs :]
        kept = _kept(joint.graph, primals, after, gradients)
        computed = [node for node in kept if node.op != "placeholder"]
        # For each tensor that is kept: its place among the inputs or among the results of the program there.
        index = {node: i for i, node in enumerate(primals)}
        index |= {node: len(primals) + self.outputs + i for i, node in enumerate(computed)}
        self.kept = [index[node] for node in kept]
        self.forward: Callable[..., Tensors] = _program(joint, primals, [*after, *computed])
        self.backward: Callable[..., Tensors] = _program(joint, [*kept, *adjoint], gradients)
        self.compiled = False
        if compiled:
            with torch.no_grad():
                self._compile(inputs)

    def _compile(self, inputs: Tensors) -> None:
        """Compile both programs. Raises RuntimeError if the compiled ones compute something else."""
        inputs = [tensor.contiguous() for tensor in off_zero(inputs)]
        after, kept = self.there(inputs)
        gradients = self.back(kept, after)
        near_after, near_kept = self.there(nudged(inputs))
        near_gradients = self.back(near_kept, after)
        # Without torch.compile, whose checks of all inputs take a tenth of LeNet's step. Nothing but values
        # changes between the calls: `there` and `back` see to it that layouts do not.
        self.compiled, self.forward = True, _compiled(self.forward, self.outputs, inputs)
        results, kept = self.there(inputs)
        self.backward = _compiled(self.backward, len(gradients), [*kept, *after])
        ours = [*results, *self.back(kept, after)]
        exact, near = [*after, *gradients], [*near_after, *near_gradients]
        for one, other, close in zip(ours, exact, near, strict=True):
            if error := excess(one, other, close, ERROR[False] * float(other.norm())):
                raise RuntimeError(f"compiled, it computes something else: an error of {error:.1e}")

    def there(self, inputs: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        """Return the outputs, and what `back` needs; to be called without a graph."""
        if self.compiled:
            inputs = [tensor.contiguous() for tensor in inputs]
        with _as_traced(inputs[0].device):
            results = self.forward(*inputs)
        everything = [*inputs, *results]
        return list(results[: self.outputs]), [everything[i] for i in self.kept]

    def back(self, kept: Tensors, adjoint: Tensors) -> Tensors:
        """Return the gradients of the learned inputs; to be called without a graph."""
        if self.compiled:
            adjoint = [tensor.contiguous() for tensor in adjoint]
        with _as_traced(adjoint[0].device):
            return self.backward(*kept, *adjoint)


@contextmanager
def _as_traced(device: torch.device) -> Iterator[None]:
    """Without autocast, since the trace has its casts; and without autograd, which it has, too.

    Even where nothing needs a gradient, autograd passes each call of a kernel of ours through Python: 10 µs.
    """
    with torch.autocast(device.type, enabled=False), torch._C._AutoDispatchBelowAutograd():
        yield


def _compiled(program: Any, number: int, inputs: Tensors) -> Callable[..., Tensors]:
    """Compile `program` for inputs laid out like these.

    Its first `number` results, which are inputs of other calls, are contiguous.
    """
    [output] = (node for node in program.graph.nodes if node.op == "output")
    results = list(output.args[0])
    with program.graph.inserting_before(output):
        for i, result in enumerate(results[:number]):
            options: dict[str, Any] = {"memory_format": torch.contiguous_format}
            results[i] = program.graph.call_function(torch.ops.aten.clone.default, (result,), options)
    output.args = (results,)
    program.recompile()
    # On a CPU, channels-last images would gain convolutions less than the other operations lose by turning
    # them: AlexCifarNet took 11 % longer.
    layout = {"layout_optimization": inputs[0].device.type != "cpu"}
    return compile_graph(program, list(inputs), options=layout)


def _joint(
    function: Callable[..., Tensors], inputs: Tensors, learned: Sequence[bool]
) -> tuple[fx.GraphModule, int]:
    """Return the graph of (*inputs, *adjoint) -> (*outputs, *gradients), and the number of outputs."""

    def leaves(tensors: Tensors) -> list[Tensor]:
        return [tensor.detach().requires_grad_(own) for tensor, own in zip(tensors, learned, strict=True)]

    def joint(*tensors: Tensor) -> list[Tensor]:
        own, adjoint = leaves(tensors[: len(inputs)]), tensors[len(inputs) :]
        with torch.enable_grad(), kernels(own[0].device):  # inside, since a trace suspends what surrounds it
            outputs = function(*own)
            wanted = [tensor for tensor in own if tensor.requires_grad]
            gradients = torch.autograd.grad(outputs, wanted, adjoint, materialize_grads=True)
        return [*(output.detach() for output in outputs), *gradients]

    with torch.enable_grad(), kernels(inputs[0].device):
        outputs = function(*leaves(inputs))
    with torch.no_grad():
        everything = (*inputs, *(output.new_ones(output.shape) for output in outputs))
        # A network may work in place (ReLU); what such an operation overwrites must not be kept.
        graph = make_fx(functionalize(make_fx(joint)(*everything), remove="mutations"))(*everything)
    _simplify(graph)
    return graph, len(outputs)


def _simplify(graph: fx.GraphModule) -> None:
    """Leave out what only autograd needs, and compute what is equal once."""
    seen: dict[Any, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            same = node.args[0]
        elif node.op != "call_function" or RANDOM in getattr(node.target, "tags", ()):
            continue
        else:
            same = seen.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()


def _kept(
    graph: fx.Graph, primals: Sequence[fx.Node], after: Iterable[Any], gradients: Iterable[Any]
) -> list[fx.Node]:
    """The nodes that the way there has and the way back needs, in the order of the graph."""
    there = _ancestors(after, until=set())
    # Of an operation with several results, all are at hand; the tuple itself cannot be kept.
    there |= {node for node in graph.nodes if _is_part(node) and node.args[0] in there}
    there -= {node for node in there if any(map(_is_part, node.users))}
    have = there | set(primals)
    needed = _ancestors(gradients, until=have)
    return [node for node in graph.nodes if node in have and node in needed]


def _ancestors(nodes: Iterable[Any], until: set[fx.Node]) -> set[fx.Node]:
    """The nodes that `nodes` are computed from, they included; behind one of `until` there are no others."""
    found: set[fx.Node] = set()
    left = [node for node in nodes if isinstance(node, fx.Node)]
    while left:
        if (node := left.pop()) not in found:
            found.add(node)
            left += [] if node in until else node.all_input_nodes
    return found


def _is_part(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _program(joint: fx.GraphModule, inputs: Sequence[fx.Node], results: Sequence[Any]) -> fx.GraphModule:
    """The part of `joint` that computes `results` from `inputs`."""
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in joint.graph.nodes:
        at_hand = node not in copies and node.op not in ("placeholder", "output")
        if at_hand and all(source in copies for source in node.all_input_nodes):
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output([copies[r] if isinstance(r, fx.Node) else r for r in results])
    graph.eliminate_dead_code()
    return fx.GraphModule(joint, graph)
