import struct

from fgq.export.ply import write_ply

KINDS = {"float": "f", "uchar": "B"}


def parse(path) -> list[dict]:
    """Vertices of a binary little-endian PLY, one property at a time, as the header says."""
    content = path.read_bytes()
    end = content.index(b"end_header\n") + len(b"end_header\n")
    header = [line.split() for line in content[:end].decode("ascii").splitlines()]
    assert header[0] == ["ply"] and header[1] == ["format", "binary_little_endian", "1.0"]
    (count,) = [int(words[2]) for words in header if words[:2] == ["element", "vertex"]]
    properties = [(words[2], KINDS[words[1]]) for words in header if words[0] == "property"]
    vertices, at = [], end
    for _ in range(count):
        vertex = {}
        for name, kind in properties:
            (vertex[name],) = struct.unpack_from(f"<{kind}", content, at)
            at += struct.calcsize(kind)
        vertices.append(vertex)
    assert at == len(content)
    return vertices


def test_points_come_back(truth, tmp_path):
    cloud = truth.reconstruct().cloud().best(0.4)
    write_ply(cloud, tmp_path / "points.ply")
    vertices = parse(tmp_path / "points.ply")
    assert len(vertices) == len(cloud)
    for n, vertex in enumerate(vertices):
        assert [vertex[axis] for axis in "xyz"] == cloud.points[n].float().tolist()
        assert [vertex[c] for c in ("red", "green", "blue")] == cloud.colours[n].tolist()
        assert vertex["confidence"] == cloud.confidence[n].float().item()
