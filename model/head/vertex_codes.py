"""Vertices to codes: regularised least squares of a head's codes to given vertices.

Damped Gauss-Newton on all codes of a frame at once, frames in batches. Writing a posed vertex as A(pose) x + b(pose),
x = template + blendshapes, A is a blend of rotations and nearly one itself, so the block of the blendshapes in the
normal matrix is constant and computed once; gradients are exact, so the fixed point is that of the full problem. The
shape is shared by all frames: it is solved jointly with the codes of some of them (the codes are eliminated frame by
frame), then kept.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from model.head.load import HeadModel
from model.head.names import is_share
from model.head.pose import axis_angle_to_matrix
from model.quaternions import matrix_to_axis_angle

HIDDEN_GROUPS = ("lashes", "upper_teeth", "mouth_interior", "eye_sockets")
"""Vertices that say nothing that the visible ones do not say: left out of the solution, not of the residual."""


RIGID = 6
"""Motion codes that come first: rotation and translation."""


@dataclass(frozen=True)
class VertexFitConfig:
    """Noise, priors and sizes of the least squares."""

    noise_m: float = 0.0003
    """Standard deviation of a vertex coordinate, metres: small for vertices of the very same head."""
    redundancy: float = 4.0
    """How many neighbouring vertices count as one observation."""
    expression_sd: float = 1.0
    """Standard deviation of the expression codes."""
    limit_sd: float = 0.05
    """Softness of the limits [0, 1] of codes that are shares of a named movement."""
    shape_sd: float = 1.0
    """Standard deviation of the shape codes, which are N(0, 1)."""
    jaw_sd: float = 0.3
    """Standard deviation of the jaw's angles, radians."""
    eye_sd: float = 0.3
    """Standard deviation of the gaze, radians."""
    neck_sd: float = 0.2
    """Standard deviation of the neck's angles, radians."""
    max_vertices: int = 2000
    """Vertices used at most; the face comes first."""
    shape_frames: int = 12
    """Frames from which the shape is solved."""
    steps: int = 12
    """Gauss-Newton steps at most."""
    tolerance: float = 1e-5
    """Relative fall of the cost at which a batch is done."""
    batch: int = 32
    """Frames solved at a time: bounds the memory."""


@dataclass(frozen=True)
class VertexCodes:
    """Codes of one head, and how far its vertices are from those given. All float32, T frames."""

    head_model: str
    """Id of the head that the codes belong to."""
    shape: Tensor
    """(S,)."""
    expression: Tensor
    """(T, E)."""
    jaw: Tensor
    """(T, 3) axis-angle, radians."""
    neck: Tensor
    """(T, 3)."""
    eyes: Tensor
    """(T, 6) left, right."""
    rotation: Tensor
    """(T, 3)."""
    translation: Tensor
    """(T, 3) metres."""
    residual_mm: Tensor
    """(T,) mean distance between given and posed vertices, millimetres."""

    def codes(self) -> dict[str, Tensor]:
        """Arguments of :meth:`HeadModel.pose`."""
        names = ("shape", "expression", "jaw", "neck", "eyes", "rotation", "translation")
        return {name: getattr(self, name) for name in names}


def codes_from_vertices(
    head: HeadModel,
    vertices: Tensor,
    *,
    vertex_ids: Tensor | None = None,
    weights: Tensor | None = None,
    shape: Tensor | None = None,
    eyes: Tensor | None = None,
    solve_neck: bool = False,
    config: VertexFitConfig | None = None,
) -> VertexCodes:
    """Codes whose posed vertices come nearest to given ones.

    Args:
        head: the head to code with.
        vertices: (T, K, 3) metres, OpenCV axes (x right, y down, z away; FLAME's own files have y and z reversed).
        vertex_ids: (K,) which of the head's vertices these are; None where K is the head's number of vertices. With
            None, vertices that mostly hang on the root joint (shoulders, base of the neck) do not count.
        weights: (K,) how much each counts; None for all alike.
        shape: (S,) the subject's shape where it is known; None solves one shape for all frames.
        eyes: (T, 6) gaze where it is known; None solves it where eyeballs are among the vertices, else it is 0.
        solve_neck: solve the neck too; else it is 0, and its turn is in the rotation.
        config: noise, priors, sizes.

    Raises:
        ValueError: shapes do not fit each other, or a vertex is not finite.
    """
    config = config or VertexFitConfig()
    points = torch.as_tensor(vertices, dtype=torch.float32, device=head.device)
    count = head.num_vertices if vertex_ids is None else len(vertex_ids)
    if points.dim() != 3 or points.shape[1:] != (count, 3) or len(points) == 0:
        raise ValueError(f"vertices must be (T, {count}, 3) with T >= 1 for head {head.id}, got {tuple(points.shape)}")
    if not bool(torch.isfinite(points).all()):
        bad = torch.nonzero(~torch.isfinite(points).flatten(1).all(1)).flatten().tolist()
        raise ValueError(f"vertices are not finite in {len(bad)} of {len(points)} frames, first frame {bad[0]}")
    trust = torch.ones(count, device=head.device) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    if trust.shape != (count,) or bool((trust < 0).any()) or not float(trust.sum()) > 0:
        raise ValueError(f"weights must be ({count},), none negative, not all 0; got {tuple(trust.shape)}")
    if vertex_ids is None:
        trust = torch.where(head.weights[:, 0] > 0.5, torch.zeros_like(trust), trust)
    every = torch.arange(count) if vertex_ids is None else torch.as_tensor(vertex_ids, dtype=torch.int64)
    whole = head if vertex_ids is None else head.subset(every)
    used = _choose(head, every, trust, config.max_vertices)
    solver = _Solver(whole.subset(used), trust[used], eyes, solve_neck, config)
    seen = points[:, used]
    if shape is None:
        chosen = torch.linspace(0, len(points) - 1, min(config.shape_frames, len(points))).round().long()
        shape = solver.solve_shape(seen[chosen], chosen)
    parts, residual = [], []
    for start in range(0, len(points), config.batch):
        rows = torch.arange(start, min(start + config.batch, len(points)))
        codes = solver.unpack(solver.solve(seen[rows], rows, shape), rows)
        parts.append(codes)
        posed, _ = whole.pose(shape, **codes)
        distance = torch.linalg.norm(posed - points[rows], dim=-1)
        residual.append(1000 * (distance * trust).sum(1) / trust.sum())
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return VertexCodes(head.id, shape, **joined, residual_mm=torch.cat(residual))


def _choose(head: HeadModel, ids: Tensor, trust: Tensor, most: int) -> Tensor:
    """Positions (<= most) in ``ids`` of the vertices to use: eyeballs and visible face first, then the rest, evenly."""

    def among(names: tuple[str, ...]) -> Tensor:
        mask = torch.zeros(head.num_vertices, dtype=torch.bool)
        for name in names:
            if name in head.groups:
                mask[head.groups[name]] = True
        return mask[ids]

    allowed = trust > 0
    face = among(("face", "lips", "eyelids", "eyes")) & allowed
    rest = allowed & ~face & ~among(HIDDEN_GROUPS)
    first, second = torch.nonzero(face).flatten(), torch.nonzero(rest).flatten()
    if len(first) + len(second) < 100:  # a head without groups, or hidden parts only: take what there is
        first, second = torch.nonzero(allowed).flatten(), torch.zeros(0, dtype=torch.int64)
    kept = _evenly(first, most - min(most // 5, len(second)))
    chosen = [kept, _evenly(second, most - len(kept))]
    return torch.sort(torch.cat(chosen)).values


def _evenly(ids: Tensor, most: int) -> Tensor:
    if len(ids) <= most:
        return ids
    return ids[torch.linspace(0, len(ids) - 1, most).round().long()]


@dataclass(frozen=True)
class _Tangents:
    """Derivatives of posed vertices at one set of codes; vertices and coordinates flattened to 3K."""

    motion: Tensor
    """(B, M, 3K) by the motion codes, weighted."""
    turned: Tensor
    """(B, J, 3, 3) global rotations of the joints."""
    weights: Tensor
    """(K, J)."""

    def back(self, field: Tensor) -> Tensor:
        """A^T of vector fields (B, N, 3K): turned back to the unposed head."""
        blend = (self.weights @ self.turned.flatten(2)).unflatten(-1, (3, 3))  # (B, K, 3, 3)
        return torch.einsum("bkij,bnki->bnkj", blend, field.unflatten(-1, (-1, 3))).flatten(2)

    def of_joints(self, parents: tuple[int, ...]) -> Tensor:
        """(B, 3 J, 3K) by the joints' places at rest, not weighted: W (G_parent - G), W the weight of the branch."""
        branch = [self.weights[:, j] for j in range(len(parents))]
        for j in range(len(parents) - 1, 0, -1):
            branch[parents[j]] = branch[parents[j]] + branch[j]
        fields = []
        for j, parent in enumerate(parents):
            above = torch.eye(3).expand(len(self.turned), 3, 3) if parent < 0 else self.turned[:, parent]
            fields.append(torch.einsum("k,bij->bjki", branch[j], above - self.turned[:, j]).flatten(2))
        return torch.cat(fields, dim=1)


class _Solver:
    """Least squares on one choice of vertices; keeps what is constant."""

    def __init__(
        self, head: HeadModel, trust: Tensor, eyes: Tensor | None, solve_neck: bool, config: VertexFitConfig
    ) -> None:
        self.head, self.config, self.given_eyes = head, config, eyes
        self.root = (trust / trust.mean() / config.redundancy).sqrt() / config.noise_m  # (K,)
        moving = [("rotation", 3, 0.0), ("translation", 3, 0.0), ("jaw", 3, config.jaw_sd**-2)]
        balls = (head.weights[:, 3:] > 0.5).sum(0)
        if eyes is None and int(balls.min()) >= 10:
            moving.append(("eyes", 6, config.eye_sd**-2))
        if solve_neck:
            moving.append(("neck", 3, config.neck_sd**-2))
        self.motion = moving
        self.num_motion = sum(size for _, size, _ in moving)
        e = self.e = head.num_expression
        precision = [head.v_template.new_full((e,), config.expression_sd**-2)]
        precision += [head.v_template.new_full((size,), value) for _, size, value in moving]
        self.precision = torch.cat(precision).double()
        share = torch.tensor([is_share(name) for name in head.expression_names], dtype=torch.bool)
        free = torch.full((self.num_motion,), torch.inf)
        self.lower = torch.cat([torch.where(share, 0.0, -torch.inf), -free]).double()
        self.upper = torch.cat([torch.where(share, 1.0, torch.inf), free]).double()
        weighted = self.root[:, None, None]
        self.dirs = (head.exprdirs * weighted).flatten(0, 1)  # (3K, E)
        self.shapes = (head.shapedirs * weighted).flatten(0, 1)  # (3K, S)
        self.gram = (self.dirs.T @ self.dirs).double()

    def unpack(self, q: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """Named codes of packed ones (B, E + M)."""
        zero = q.new_zeros(len(q), 3)
        codes = {"expression": q[:, : self.e], "jaw": zero, "neck": zero, "eyes": q.new_zeros(len(q), 6)}
        if self.given_eyes is not None:
            codes["eyes"] = torch.as_tensor(self.given_eyes, dtype=q.dtype)[rows]
        start = self.e
        for name, size, _ in self.motion:
            codes[name] = q[:, start : start + size]
            start += size
        order = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
        return {name: codes[name] for name in order}

    def _start(self, seen: Tensor, shape: Tensor) -> Tensor:
        """Rigid alignment of the head at rest (Kabsch's algorithm), everything else at zero."""
        rest, joints = self.head.shaped(shape)
        mass = (self.root**2 / (self.root**2).sum())[:, None]
        middle, target = (mass * rest[0]).sum(0), (mass * seen).sum(1)
        u, _, vt = torch.linalg.svd(((rest[0] - middle) * mass).T @ (seen - target[:, None]))
        flip = torch.ones(len(seen), 3)
        flip[:, 2] = torch.sign(torch.linalg.det(u @ vt))
        turn = (u * flip[:, None]) @ vt  # rows: x' = x @ turn
        rotation = matrix_to_axis_angle(turn.mT)
        root = joints[0, 0]
        translation = target - ((middle - root) @ turn + root)
        q = seen.new_zeros(len(seen), self.e + self.num_motion)
        q[:, self.e : self.e + 3], q[:, self.e + 3 : self.e + 6] = rotation, translation
        return q

    def _moved(self, q: Tensor, step: Tensor) -> Tensor:
        """Codes after a step (B, n): rotations are multiplied on the left, everything else is added."""
        trial = q - step.to(q.dtype)
        part = slice(self.e, self.e + 3)
        turn = axis_angle_to_matrix(-step[:, part]) @ axis_angle_to_matrix(q[:, part].double())
        trial[:, part] = matrix_to_axis_angle(turn).to(q.dtype)
        return trial

    def _residual(self, q: Tensor, shape: Tensor, seen: Tensor, rows: Tensor) -> Tensor:
        posed, _ = self.head.pose(shape, **self.unpack(q, rows))
        return ((posed - seen) * self.root[:, None]).flatten(1)

    def _beyond(self, q: Tensor) -> Tensor:
        return (q - self.lower).clamp(max=0) + (q - self.upper).clamp(min=0)

    def _cost(self, residual: Tensor, q: Tensor) -> Tensor:
        prior = self.precision * q.double() ** 2 + self._beyond(q.double()) ** 2 / self.config.limit_sd**2
        return 0.5 * ((residual.double() ** 2).sum(1) + prior.sum(1))

    def _normal(self, q: Tensor, shape: Tensor, seen: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, _Tangents]:
        """Gradient (B, n), normal matrix (B, n, n), and the derivatives that they were made of."""
        e, head, batch = self.e, self.head, len(q)
        rigid, free = q[:, e : e + RIGID], self.num_motion - RIGID
        tangent = torch.eye(free).unsqueeze(1).expand(-1, batch, -1)

        def of_motion(motion: Tensor) -> Tensor:
            return self._residual(torch.cat([q[:, :e], rigid, motion], dim=1), shape, seen, rows)

        def push(direction: Tensor) -> Tensor:
            return torch.func.jvp(of_motion, (q[:, e + RIGID :],), (direction,))[1]  # type: ignore[no-any-return]

        residual = of_motion(q[:, e + RIGID :])
        # A small turn d on the left of the rotation moves a vertex by d x (v - pivot).
        pivot = head.shaped(shape)[1][0, 0] + rigid[:, 3:]
        arm = residual.unflatten(1, (-1, 3)) + (seen - pivot[:, None]) * self.root[:, None]
        basis = torch.eye(3)
        turning = torch.linalg.cross(basis[None, :, None].expand(batch, 3, *arm.shape[1:2], 3), arm[:, None])
        shifting = (basis[:, None] * self.root[:, None]).expand(batch, -1, -1, -1)
        with warnings.catch_warnings():  # torch's own forward derivatives use its deprecated compiler when first loaded
            warnings.simplefilter("ignore", DeprecationWarning)
            moving = torch.func.vmap(push)(tangent).transpose(0, 1)  # (B, M - 6, 3K)
        motion = torch.cat([turning.flatten(2), shifting.flatten(2), moving], dim=1)  # (B, M, 3K)
        codes = self.unpack(q, rows)
        angles = [codes[name] for name in ("rotation", "neck", "jaw", "eyes")]
        local = axis_angle_to_matrix(torch.cat(angles, dim=1).unflatten(1, (5, 3)))
        turned = [local[:, 0]]
        for joint in range(1, 5):
            turned.append(turned[head.parents[joint]] @ local[:, joint])
        tangents = _Tangents(motion, torch.stack(turned, 1), head.weights)
        unposed, motion_unposed = tangents.back(residual[:, None])[:, 0], tangents.back(motion)
        n = e + self.num_motion
        normal = q.new_zeros(len(q), n, n, dtype=torch.float64)
        normal[:, :e, :e] = self.gram
        cross = (motion_unposed @ self.dirs).double()  # (B, M, E)
        normal[:, e:, :e], normal[:, :e, e:] = cross, cross.mT
        normal[:, e:, e:] = (motion @ motion.mT).double()
        wide = q.double()
        beyond = self._beyond(wide) / self.config.limit_sd**2
        by_expression = unposed @ self.dirs
        if head.J_exprdirs is not None:  # joints that follow the expression, as they follow the shape
            follow = head.J_exprdirs.flatten(0, 1)  # (15, E)
            joints = tangents.of_joints(head.parents) * self.root.repeat_interleave(3)  # (B, 15, 3K)
            mixed = follow.T @ (tangents.back(joints) @ self.dirs)  # (B, E, E)
            twice = follow.T @ (joints @ joints.mT) @ follow
            normal[:, :e, :e] += (mixed + mixed.mT + twice).double()
            between = ((motion @ joints.mT) @ follow).double()  # (B, M, E)
            normal[:, e:, :e] += between
            normal[:, :e, e:] += between.mT
            by_expression = by_expression + (joints @ residual[..., None])[..., 0] @ follow
        gradient = torch.cat([by_expression, (motion @ residual[..., None])[..., 0]], dim=1).double()
        gradient = gradient + self.precision * wide + beyond
        diagonal = torch.arange(n)
        normal[:, diagonal, diagonal] += self.precision + (beyond != 0) / self.config.limit_sd**2
        return gradient, normal, tangents

    def _of_shape(self, tangents: _Tangents) -> tuple[Tensor, Tensor]:
        """Normal matrix of the shape over all frames (S, S), and shape against codes (B, S, n).

        The shape moves vertices directly, and the joints they turn about: by 15 joint coordinates, linear in it.
        """
        head = self.head
        follow = head.J_shapedirs.flatten(0, 1).double()  # (15, S)
        joints = tangents.of_joints(head.parents) * self.root.repeat_interleave(3)  # (B, 15, 3K)
        joints_unposed, motion_unposed = tangents.back(joints), tangents.back(tangents.motion)
        mixed = (joints_unposed @ self.shapes).double().sum(0)  # (15, S)
        twice = (joints @ joints.mT).double().sum(0)
        gram = len(joints) * (self.shapes.T @ self.shapes).double()
        gram = gram + mixed.T @ follow + follow.T @ mixed + follow.T @ twice @ follow
        linear = (self.shapes.T @ self.dirs).double() + follow.T @ (joints_unposed @ self.dirs).double()
        moving = (motion_unposed @ self.shapes).double().mT + follow.T @ (joints @ tangents.motion.mT).double()
        return gram, torch.cat([linear, moving], dim=2)

    def solve(self, seen: Tensor, rows: Tensor, shape: Tensor) -> Tensor:
        """Packed codes (B, E + M) of frames with a known shape."""
        q = self._start(seen, shape)
        damping = torch.full((len(q),), 1e-4, dtype=torch.float64)
        cost = self._cost(self._residual(q, shape, seen, rows), q)
        for _ in range(self.config.steps):
            gradient, normal, _ = self._normal(q, shape, seen, rows)
            scaled = normal + torch.diag_embed(damping[:, None] * torch.diagonal(normal, dim1=1, dim2=2))
            step = torch.linalg.solve(scaled, gradient[..., None])[..., 0]
            trial = self._moved(q, step)
            new = self._cost(self._residual(trial, shape, seen, rows), trial)
            better = new < cost
            gain = torch.where(better, (cost - new) / cost.clamp(min=1e-12), torch.zeros_like(cost))
            q = torch.where(better[:, None], trial, q)
            cost = torch.where(better, new, cost)
            damping = torch.where(better, damping * 0.2, (damping * 20).clamp(max=1e3))
            if float(gain.max()) < self.config.tolerance:
                break
        return q

    def solve_shape(self, seen: Tensor, rows: Tensor) -> Tensor:
        """The shape (S,) that serves all given frames best, their codes free."""
        num = self.head.num_shape
        shape = seen.new_zeros(num)
        if num == 0:
            return shape
        q = self._start(seen, shape)
        prior = self.config.shape_sd**-2
        damping = 1e-3

        def total(codes: Tensor, identity: Tensor) -> float:
            data = self._cost(self._residual(codes, identity, seen, rows), codes).sum()
            return float(data + 0.5 * prior * (identity.double() ** 2).sum())

        cost = total(q, shape)
        for _ in range(2 * self.config.steps):
            gradient, normal, tangents = self._normal(q, shape, seen, rows)
            leaf = shape.clone().requires_grad_(True)
            self._residual(q, leaf, seen, rows).square().sum().mul(0.5).backward()
            assert leaf.grad is not None
            slope = leaf.grad.double() + prior * shape.double()
            gram, cross = self._of_shape(tangents)
            scaled = normal + torch.diag_embed(damping * torch.diagonal(normal, dim1=1, dim2=2))
            inner = torch.linalg.solve(scaled, torch.cat([gradient[..., None], cross.mT], dim=2))  # (B, n, 1 + S)
            outer = gram + torch.diag(prior + damping * torch.diagonal(gram)) - (cross @ inner[..., 1:]).sum(0)
            step = torch.linalg.solve(outer, slope - (cross @ inner[..., :1]).sum(0)[:, 0])
            moved = inner[..., 0] - inner[..., 1:] @ step
            trial, trial_shape = self._moved(q, moved), shape - step.to(q.dtype)
            new = total(trial, trial_shape)
            if new < cost:
                gain = (cost - new) / max(cost, 1e-12)
                q, shape, cost, damping = trial, trial_shape, new, damping * 0.2
                if gain < self.config.tolerance:
                    break
            else:
                damping = min(damping * 20, 1e3)
                if damping >= 1e3:
                    break
        return shape.detach()


__all__ = ["VertexCodes", "VertexFitConfig", "codes_from_vertices"]
