# What the Python examples of the pages take as given, such as "`row` is one of the offline store".
import base64
import zlib

import msgspec

card_id, event = "c1", b'{"transaction_id": "t1"}'
row = {"profile": base64.b64encode(zlib.compress(msgspec.msgpack.encode((7, {"count": 3})))).decode()}
