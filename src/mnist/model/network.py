"""The networks, and the computation of logits from grey values."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.mnist.model.seeds import seeded

# Mean and standard deviation of all pixels of the MNIST training images, scaled to [0, 1].
MEAN, STD = 0.1307, 0.3081
# Batch size of `predict_logits`. On a CPU, 100 takes half the time of 1000 for the resnet, and three quarters for the
# cnn. The last bits of the logits depend on it.
BATCH_SIZE = {"cpu": 100, "cuda": 1000}


def normalize(images: Tensor) -> Tensor:
    """Convert grey values (N, 28, 28), 0 to 255, of any dtype, to the networks' input: float32 (N, 1, 28, 28)."""
    # `sub` returns a new tensor, so dividing in place does not change the input.
    return images.unsqueeze(1).sub(255 * MEAN).float().div_(255 * STD)


def shifted_views(images: Tensor, shift: int) -> Tensor:
    """Every shifted version of every image, as a view of the zero-padded images.

    Args:
        images: uint8 of shape (N, 28, 28).
        shift: Largest shift in pixels.

    Returns:
        uint8 of shape (N, 2 * shift + 1, 2 * shift + 1, 28, 28); [:, shift, shift] are the unshifted images.
    """
    height, width = images.shape[1:]
    return F.pad(images, [shift] * 4).unfold(1, height, 1).unfold(2, width, 1)


class CPULinear(nn.Linear):
    """A linear layer that uses oneDNN for float32 on a CPU, and behaves like `nn.Linear` otherwise.

    By default, PyTorch multiplies float32 matrices with MKL, which does not use AVX-512 on AMD's processors.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, in_features) to (N, out_features)."""
        is_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        # PyTorch uses oneDNN's former name. It is disabled while a network is exported.
        has_onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        if x.device.type != "cpu" or not is_float32 or not has_onednn or torch.compiler.is_compiling():
            return super().forward(x)
        if x.shape[-1] != self.in_features:
            # Its error names the sizes; oneDNN's does not.
            return super().forward(x)
        return F.linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


class CNN(nn.Module):
    """Two convolutions and two linear layers; 1,007,590 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=3)
        self.linear1 = CPULinear(2000, 500)
        self.linear2 = nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 1, 28, 28) to logits (N, 10)."""
        # Max pooling and ReLU commute; pooling first leaves ReLU a quarter of the pixels.
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        # Flattened in the memory order of `channels_last`, so that nothing is copied.
        x = F.relu(self.conv2(x).permute(0, 2, 3, 1).flatten(1))
        x = F.relu(self.linear1(x))
        return self.linear2(x)


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, added to the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(*conv_norm(channels, channels), nn.ReLU(inplace=True), *conv_norm(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, channels, H, W) to the same shape."""
        return F.relu(x + self.path(x))


class ResNet(nn.Module):
    """A small residual network: 32 to 128 channels on 12 x 12 and 6 x 6 pixels; 464,106 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=5, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            *conv_norm(32, 64),
            nn.ReLU(inplace=True),
            Residual(64),
            nn.MaxPool2d(2),
            *conv_norm(64, 128),
            nn.ReLU(inplace=True),
            Residual(128),
        )
        self.linear = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 1, 28, 28) to logits (N, 10)."""
        # Global max pooling; unlike adaptive pooling, `amax` has a deterministic backward pass on CUDA.
        return self.linear(self.layers(x).amax((2, 3)))


class Ensemble(nn.Module):
    """Two residual networks whose logits are averaged; 928,212 weights.

    In training, each image passes through only one of them, so that an epoch takes as long as with one network.
    """

    size = 2

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(ResNet() for _ in range(self.size))

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 1, 28, 28) to logits (N, 10); in training, each image uses a single member."""
        if self.training:
            parts = zip(self.members, x.tensor_split(len(self.members)), strict=True)
            # With fewer images than members, some parts are empty.
            return torch.cat([member(part) for member, part in parts if len(part)])
        return torch.stack([member(x) for member in self.members]).mean(0)


class LargeEnsemble(Ensemble):
    """Eight residual networks whose logits are averaged; 3,712,848 weights."""

    size = 8


def conv_norm(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module]:
    """A 3 x 3 convolution that keeps height and width, followed by batch normalisation."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)


class SmallCNN(nn.Module):
    """Three convolutions with batch normalisation, two linear layers; 61,242 weights, channels in multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, kernel_size=5, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, kernel_size=3, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = nn.Conv2d(32, 64, kernel_size=3, bias=False), nn.BatchNorm2d(64)
        self.linear1 = nn.Linear(576, 64)
        self.linear2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 1, 28, 28) to logits (N, 10)."""
        # Pooling first leaves normalisation and ReLU a quarter of the pixels.
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        x = F.relu(self.norm2(F.max_pool2d(self.conv2(x), 2)))
        x = F.relu(self.norm3(self.conv3(x)))
        x = F.relu(self.linear1(x.permute(0, 2, 3, 1).flatten(1)))
        return self.linear2(x)


class CalibratedModel(nn.Module):
    """A network and the temperature that its logits are divided by (Guo et al., ICML 2017, section 4.2)."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 1, 28, 28) to logits (N, 10), whose softmax gives calibrated probabilities."""
        return self.network(x) / self.temperature


ARCHITECTURES: dict[str, type[nn.Module]] = {
    "cnn": CNN,
    "small": SmallCNN,
    "resnet": ResNet,
    "ensemble": Ensemble,
    "large_ensemble": LargeEnsemble,
}


def build_model(architecture: str, seed: int) -> nn.Module:
    """Build a network whose initial weights depend only on the seed; global random state is untouched."""
    with seeded(seed, torch.device("cpu")):
        return ARCHITECTURES[architecture]()


def predict_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Compute logits of grey values, uint8 (N, 28, 28) on the model's device, as float64 (N, 10) on the CPU.

    The model is left in evaluation mode and in the layout `channels_last`. If it draws random numbers even in
    evaluation mode, it draws the same ones in every call; global random state is untouched.
    """
    # A CPU takes 60% of the time in this layout.
    model.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode(), seeded(0, images.device):
        logits = torch.cat([model(normalize(batch)) for batch in images.split(BATCH_SIZE[images.device.type])])
    return logits.cpu().double()
