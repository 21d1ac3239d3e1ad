"""Inner loops of the renderer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semreid.compiled import compiled

Array = NDArray[Any]


@compiled
def skin(weights: Array, turn: Array, shift: Array, vertices: Array, normals: Array) -> tuple[Array, Array]:
    """Move vertices and normals with the bones that hold them: few of all, for most vertices one.

    Args:
        weights: Share of each bone in each vertex (V, bones).
        turn: Rotation of the bones (bones, 3, 3).
        shift: Translation of the bones (bones, 3).
        vertices: Positions (V, 3).
        normals: Directions (V, 3).

    Returns:
        Positions (V, 3), and directions (V, 3) that are not of unit length.
    """
    moved, turned = np.zeros_like(vertices), np.zeros_like(normals)
    for v in range(weights.shape[0]):
        for bone in range(weights.shape[1]):
            share = weights[v, bone]
            if share == 0:
                continue
            for i in range(3):
                at, along = shift[bone, i], np.float32(0)
                for j in range(3):
                    at += turn[bone, i, j] * vertices[v, j]
                    along += turn[bone, i, j] * normals[v, j]
                moved[v, i] += share * at
                turned[v, i] += share * along
    return moved, turned


@compiled
def rasterise(
    screen: Array, nearness: Array, faces: NDArray[np.int32], height: int, width: int
) -> tuple[NDArray[np.int32], Array]:
    """Find the nearest triangle at every sample.

    Args:
        screen: Vertices in samples, x right and y down, (V, 2).
        nearness: Reciprocal depth (V,): linear on the screen.
        faces: Triangles (T, 3), counter-clockwise seen from outside; others are culled.
        height: Samples down.
        width: Samples across.

    Returns:
        Index of the triangle, -1 for none, (height, width); and the share of its first two corners, (height, width, 2).
    """
    face = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    depth = np.zeros((height, width), np.float32)
    half, one = np.float32(0.5), np.float32(1)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)  # y points down: positive where the outside shows
        if area <= 1e-12:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if x1 < x0 or y1 < y0:
            continue
        inverse = one / area
        na, nb, nc = nearness[a], nearness[b], nearness[c]
        # shares of corners a and b are linear: value + dx * x + dy * y
        wa_dx, wa_dy = (cy - by) * inverse, (bx - cx) * inverse
        wb_dx, wb_dy = (ay - cy) * inverse, (cx - ax) * inverse
        left, top = np.float32(x0) + half, np.float32(y0) + half
        wa_row = (left - bx) * wa_dx + (top - by) * wa_dy
        wb_row = (left - cx) * wb_dx + (top - cy) * wb_dy
        for y in range(y0, y1 + 1):
            wa, wb = wa_row, wb_row
            for x in range(x0, x1 + 1):
                wc = one - wa - wb
                if wa >= 0 and wb >= 0 and wc >= 0:
                    near = wa * na + wb * nb + wc * nc
                    if near > depth[y, x]:
                        depth[y, x] = near
                        face[y, x] = f
                        weights[y, x, 0] = wa
                        weights[y, x, 1] = wb
                wa += wa_dx
                wb += wb_dx
            wa_row += wa_dy
            wb_row += wb_dy
    return face, weights


@compiled
def shade(  # noqa: C901 - one loop over pixels, samples and channels, without calls
    face: NDArray[np.int32],
    weights: Array,
    faces: NDArray[np.int32],
    nearness: Array,
    texel: Array,
    light: Array,
    texture: Array,
    relief: Array,
    parts: NDArray[np.uint8],
    samples: int,
) -> tuple[Array, Array, NDArray[np.uint8], Array]:
    """Colour the samples and average them into pixels.

    Args:
        face: Triangle at every sample, from :func:`rasterise`.
        weights: Share of its first two corners on the screen.
        faces: Triangles (T, 3).
        nearness: Reciprocal depth of the vertices (V,).
        texel: Column and row of the vertices in the texture, in texels, (V, 2).
        light: RGB light on the vertices (V, 3).
        texture: Colours (S, S, 3).
        relief: Factor on the light (S, S).
        parts: Part labels (S, S).
        samples: Samples a pixel along each side.

    Returns:
        RGB multiplied by coverage (H, W, 3), coverage (H, W), part labels (H, W), texture coordinates (H, W, 2).
    """
    height, width = face.shape[0] // samples, face.shape[1] // samples
    size = texture.shape[0]
    colour = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)
    label = np.zeros((height, width), np.uint8)
    uv = np.zeros((height, width, 2), np.float32)
    count = np.zeros(8, np.int32)
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    share = np.float32(1 / (samples * samples))
    fs = np.empty(samples * samples, np.int32)
    for py in range(height):
        for px in range(width):
            covered = most = 0
            for s in range(samples * samples):
                fs[s] = face[py * samples + s // samples, px * samples + s % samples]
            count[:] = 0
            for s in range(samples * samples):
                f = fs[s]
                if f < 0:
                    continue
                same, wa, wb = 0, zero, zero
                for r in range(s, samples * samples):  # shade once what one triangle covers of the pixel
                    if fs[r] == f:
                        y, x = py * samples + r // samples, px * samples + r % samples
                        same += 1
                        wa += weights[y, x, 0]
                        wb += weights[y, x, 1]
                        fs[r] = -1
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                wc = (same - wa - wb) * nearness[c]
                wa, wb = wa * nearness[a], wb * nearness[b]
                whole = one / (wa + wb + wc)
                wa, wb, wc = wa * whole, wb * whole, wc * whole
                u = texel[a, 0] * wa + texel[b, 0] * wb + texel[c, 0] * wc
                v = texel[a, 1] * wa + texel[b, 1] * wb + texel[c, 1] * wc
                row, column = min(max(int(v), 0), size - 1), min(max(int(u), 0), size - 1)
                fold = relief[row, column] * (share * same)
                left, top = max(u - half, zero), max(v - half, zero)
                j, i = min(int(left), size - 2), min(int(top), size - 2)
                fx, fy = min(left - j, one), min(top - i, one)  # bilinear, clamped at the borders
                w11 = fx * fy
                w01, w10 = fx - w11, fy - w11
                w00 = one - fx - w10
                for channel in range(3):
                    lit = light[a, channel] * wa + light[b, channel] * wb + light[c, channel] * wc
                    above = texture[i, j, channel] * w00 + texture[i, j + 1, channel] * w01
                    below = texture[i + 1, j, channel] * w10 + texture[i + 1, j + 1, channel] * w11
                    colour[py, px, channel] += (above + below) * lit * fold
                if same > most:
                    most = same
                    uv[py, px, 0] = u / size
                    uv[py, px, 1] = v / size
                covered += same
                count[parts[row, column]] += same
            alpha[py, px] = covered * share
            if 2 * covered >= samples * samples:
                label[py, px] = np.argmax(count)
            else:
                uv[py, px] = 0
    return colour, alpha, label, uv
