KINDS = ()


def random_graph(draw, kind): ...
