"""Writes small PDF files for tests: pages of text in Helvetica, images, form fields, rotation."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

A4 = (595, 842)


@dataclass(frozen=True)
class Sheet:
    """A page. lines: (x, y, text) in points from the lower left corner. rotate: degrees clockwise.

    picture: width and height in pixels that the image in the page claims; it covers the page. pixels: its RGB bytes.
    field: the value of a form field. content: drawing operators of its own.
    """

    lines: Sequence[tuple[float, float, str]] = ()
    size: tuple[float, float] = A4
    rotate: int = 0
    picture: tuple[int, int] | None = None
    pixels: bytes = b""
    field: str | None = None
    content: str = ""


def pdf_file(*sheets: Sheet, locked: bool = False, claimed_pages: int | None = None) -> bytes:
    """A PDF file. locked: it needs a password. claimed_pages: a number of pages that is not the true one."""
    objects: list[bytes] = [b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"]
    pages: list[int] = []

    def add(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    def stream(entries: str, data: bytes) -> int:
        packed = zlib.compress(data)
        return add(
            f"<<{entries}/Filter/FlateDecode/Length {len(packed)}>>stream\n".encode()
            + packed
            + b"\nendstream"
        )

    catalog = add(b"")
    for sheet in sheets:
        width, height = sheet.size
        text = "".join(f"BT /F1 12 Tf {x} {y} Td ({words}) Tj ET\n" for x, y, words in sheet.lines)
        resources, annotations = "/Font<</F1 2 0 R>>", ""
        if sheet.picture is not None:
            columns, rows = sheet.picture
            image = stream(
                f"/Type/XObject/Subtype/Image/Width {columns}/Height {rows}/ColorSpace/DeviceRGB/BitsPerComponent 8",
                sheet.pixels,
            )
            text = f"q {width} 0 0 {height} 0 0 cm /Im Do Q\n" + text
            resources += f"/XObject<</Im {image} 0 R>>"
        if sheet.field is not None:
            shown = stream(
                "/Type/XObject/Subtype/Form/BBox[0 0 200 20]/Resources<</Font<</F1 2 0 R>>>>",
                f"/Tx BMC BT /F1 12 Tf 2 5 Td ({sheet.field}) Tj ET EMC".encode(),
            )
            widget = add(
                f"<</Type/Annot/Subtype/Widget/FT/Tx/T(f)/V({sheet.field})/F 4/Rect[100 600 300 620]"
                f"/AP<</N {shown} 0 R>>>>".encode()
            )
            annotations = f"/Annots[{widget} 0 R]"
        content = stream("", (text + sheet.content).encode("cp1252"))
        pages.append(
            add(
                f"<</Type/Page/Parent 1 0 R/MediaBox[0 0 {width} {height}]/Rotate {sheet.rotate}"
                f"/Resources<<{resources}>>/Contents {content} 0 R{annotations}>>".encode()
            )
        )
    kids = " ".join(f"{page} 0 R" for page in pages)
    objects[0] = f"<</Type/Pages/Count {claimed_pages or len(pages)}/Kids[{kids}]>>".encode()
    objects[catalog - 1] = b"<</Type/Catalog/Pages 1 0 R>>"
    trailer = f"/Root {catalog} 0 R/Size {len(objects) + 1}"
    if locked:
        key = "00" * 32
        lock = add(f"<</Filter/Standard/V 1/R 2/O<{key}>/U<{key}>/P -4>>".encode())
        trailer = f"/Root {catalog} 0 R/Size {len(objects) + 1}/Encrypt {lock} 0 R/ID[<00><00>]"
    out = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<<{trailer}>>\n".encode()
    return out + f"startxref\n{start}\n%%EOF\n".encode()
