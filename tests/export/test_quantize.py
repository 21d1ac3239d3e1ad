from onnx import helper

from semreid.export.quantize import other_sums


def test_sums_of_maps_alone_are_quantised():
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["residual"], name="residual"),
        helper.make_node("Add", ["residual", "b"], ["next"], name="next"),
        helper.make_node("ReduceMean", ["next"], ["mean"]),
        helper.make_node("Add", ["mean", "tiny"], ["light"], name="light of a white balance"),
        helper.make_node("Pow", ["a", "eight"], ["yes"]),
        helper.make_node("Add", ["yes", "a"], ["odds"], name="odds of a mask"),
    ]
    graph = helper.make_graph(nodes, "graph", [], [])
    assert other_sums(graph) == ["light of a white balance", "odds of a mask"]
