"""Malformed images, label maps and films, and unusual ones that must work."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def encode(image: np.ndarray | Image.Image, kind: str = 'PNG', **options: object) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b'') -> bytes:
    """A PNG of any declared size."""
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    parts = ((b'IHDR', header), (b'IDAT', body), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        for name, data in parts
    )


def png_bomb(side: int) -> bytes:
    """A black PNG of a thousandth of its pixels' size."""
    packer, row = zlib.compressobj(9), bytes(side // 8 + 1)
    body = b''.join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(side, side, 1, 0, body)


def resized_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header declares another size than its data have."""
    good = encode(pixels(48, 64, 3), 'JPEG')
    at = good.index(b'\xff\xc0') + 5
    return good[:at] + struct.pack('>HH', height, width) + good[at + 4 :]


def tiff(width: int, height: int) -> bytes:
    """A TIFF with a header alone."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1),
            (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 2**31)]  # fmt: skip
    entries = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in tags)
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4)


def malformed_images() -> Iterator[tuple[str, bytes]]:
    """Bytes that no tool can take for an image."""
    jpeg, flat = encode(pixels(48, 64, 3), 'JPEG'), encode(pixels(48, 64, 3))
    page = encode(pixels(48, 64, 3), 'TIFF')
    for name, good in (('jpeg', jpeg), ('png', flat), ('tiff', page)):
        for share in (0.01, 0.2, 0.6):
            yield f'{name}-cut-at-{share}', good[: int(share * len(good))]
    yield 'jpeg-without-end', jpeg[:-2]
    yield 'png-bad-checksum', flat.replace(b'IDAT', b'IDAX')
    yield 'png-signature', flat[:8]
    yield 'png-middle-zeroed', flat[:400] + bytes(600) + flat[1000:]
    yield 'png-no-pixels', png(0, 0)
    yield 'png-no-rows', png(10, 0)
    yield 'png-no-data', png(10, 10)
    yield 'png-depth-3', png(10, 10, depth=3)
    yield 'png-colour-9', png(10, 10, colour=9)
    yield 'png-header-100000x100000', png(100_000, 100_000)
    yield 'png-header-2-billion', png(2**31 - 1, 2**31 - 1)
    yield 'png-bomb-20000', png_bomb(20_000)
    yield 'jpeg-header-65000x65000', resized_jpeg(65_000, 65_000)
    yield 'tiff-header-100000x100000', tiff(100_000, 100_000)
    yield 'empty', b''
    yield 'one-byte', b'\x89'
    yield 'text', b'this is a text, not an image\n' * 20
    yield 'web-page', b'<!DOCTYPE html><html><body>404</body></html>'
    yield 'svg', b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>'
    yield 'git-lfs', b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n'
    yield 'random', np.random.default_rng(0).bytes(3000)
    yield 'zeros', bytes(3000)
    yield 'pdf', b'%PDF-1.4\n' + bytes(100)
    yield 'bmp-header', b'BM' + bytes(60)
    yield 'webp-header', b'RIFF\x24\x00\x00\x00WEBPVP8 ' + bytes(20)
    yield 'gif-header', b'GIF89a\xff\xff\xff\xff\x80\x00\x00'
    yield 'ppm-huge', b'P6 90000 90000 255\n' + bytes(30)
    yield 'archive', b'PK\x03\x04' + bytes(100)


def unusual_images() -> Iterator[tuple[str, bytes]]:
    """Images that work: a prediction, or for a side that is too small one line."""
    colour = pixels(48, 64, 3)
    deep = colour[..., 0].astype(np.uint16) << 8
    yield '16-bit', encode(Image.fromarray(deep))
    yield 'grey', encode(colour[..., 0])
    yield 'palette', encode(Image.fromarray(colour).quantize(16))
    yield 'transparent', encode(pixels(48, 64, 4))
    yield 'black-and-white', encode(Image.fromarray(colour).convert('1'))
    yield 'cmyk-jpeg', encode(Image.fromarray(colour).convert('CMYK'), 'JPEG')
    yield 'progressive-jpeg', encode(colour, 'JPEG', progressive=True)
    yield 'rotated-jpeg', encode(colour, 'JPEG', exif=_exif(6))
    yield 'tiff', encode(colour, 'TIFF')
    yield 'webp', encode(colour, 'WEBP')
    yield 'bmp', encode(colour, 'BMP')


def thin_images() -> Iterator[tuple[str, bytes]]:
    """Images of extreme shapes."""
    for height, width in ((1, 1), (1, 3000), (3000, 1), (2, 2000), (2, 2), (16, 9000)):
        yield f'{height}x{width}', encode(pixels(height, width, 3))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def malformed_masks(height: int, width: int, num_classes: int) -> Iterator[tuple[str, bytes]]:
    """Label maps that do not belong to an image of this size."""
    good = np.random.default_rng(0).integers(0, num_classes, (height, width)).astype(np.uint8)
    flat = encode(good)
    for share in (0.05, 0.5):
        yield f'cut-at-{share}', flat[: int(share * len(flat))]
    yield 'empty', b''
    yield 'text', b'0 0 1 1\n' * 10
    yield 'random', np.random.default_rng(0).bytes(500)
    yield 'smaller', encode(good[: height // 2, : width // 2])
    yield 'a-row-less', encode(good[:-1])
    yield 'larger', encode(np.pad(good, ((0, 8), (0, 8))))
    yield 'one-pixel', encode(good[:1, :1])
    yield 'wide-values', encode(good + np.uint8(100))
    yield 'colour', encode(pixels(height, width, 3))
    yield 'transparent', encode(pixels(height, width, 4))
    yield 'grey-and-alpha', encode(Image.fromarray(pixels(height, width, 2), 'LA'))
    yield '16-bit', encode(Image.fromarray(good.astype(np.uint16) * 300))
    yield '32-bit', encode(Image.fromarray(good.astype(np.int32) + 70_000), 'TIFF')
    yield 'fractions', encode(Image.fromarray(good.astype(np.float32) + 0.5), 'TIFF')
    yield 'not-finite', encode(Image.fromarray(np.full_like(good, np.nan, np.float32)), 'TIFF')
    yield 'jpeg-noise', encode(pixels(height, width), 'JPEG')
    yield 'header-100000x100000', png(100_000, 100_000, colour=0)
    yield 'bomb-20000', png_bomb(20_000)
    yield 'no-pixels', png(0, 0, colour=0)


def malformed_films(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Bytes that hold no frame."""
    yield 'empty', b''
    yield 'text', b'no film\n' * 50
    yield 'random', np.random.default_rng(0).bytes(5000)
    yield 'cut-at-0.05', good[: len(good) // 20]
    yield 'header-alone', good[:32]
    yield 'zeros-inside', good[:40] + bytes(len(good) - 40)
