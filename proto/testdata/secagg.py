"""An independent implementation of the secure aggregation of `proto/src/secagg`, written from its
documentation with pyca/cryptography. It prints `secagg.json`, the known answers of the tests:

    python3 proto/testdata/secagg.py > proto/testdata/secagg.json
"""

import json
import struct
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SITES, THRESHOLD, RING_BITS, ELEMENTS = 3, 3, 12, 20


def hkdf(key, salt, info):
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def stream(key, length):
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return cipher.update(bytes(length))


def u32(number):
    return struct.pack("<I", number)


def put(part):
    return u32(len(part)) + part


def multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def split(secret, threshold, holders, coins):
    coefficients = [secret]
    randomness = stream(coins, 32 * (threshold - 1))
    coefficients += [randomness[32 * i : 32 * i + 32] for i in range(threshold - 1)]
    shares = []
    for place in range(1, holders + 1):
        share = bytearray(32)
        for byte in range(32):
            power = 1
            for coefficient in coefficients:
                share[byte] ^= multiply(coefficient[byte], power)
                power = multiply(power, place)
        shares.append(bytes(share))
    return shares


class Site:
    def __init__(self, number):
        self.number = number
        self.pseudonym = f"site-{number:04}"
        self.identity = Ed25519PrivateKey.from_private_bytes(u32(number + 1) + bytes(28))
        self.secret = bytes([0x40 + number]) * 32

    def derive(self, label, context=b""):
        return hkdf(self.secret, b"chancery-secagg-v1 site secret", label + context)

    def public(self):
        return self.identity.public_key().public_bytes_raw()


sites = [Site(number) for number in range(SITES)]
plan, run, round_ = bytes([3]) * 32, b"run", 1
roster_hash = sha256(b"".join(put(s.pseudonym.encode()) + s.public() for s in sites)).digest()


def context(label):
    return put(label) + put(run) + u32(round_) + roster_hash + plan


def message(site):
    return (
        context(b"chancery-secagg-v1 keys")
        + u32(site.number)
        + site.encryption.public_key().public_bytes_raw()
        + site.masking.public_key().public_bytes_raw()
        + site.commitment
    )


for site in sites:
    site.encryption = X25519PrivateKey.from_private_bytes(site.derive(b"encryption key"))
    site.masking_seed = site.derive(b"masking key")
    site.masking = X25519PrivateKey.from_private_bytes(site.masking_seed)
    site.own_mask = site.derive(b"own mask")
    site.commitment = hkdf(site.own_mask, b"chancery-secagg-v1 commitment", b"")
    site.signature = site.identity.sign(message(site))

session = sha256(
    context(b"chancery-secagg-v1 session") + b"".join(sha256(message(s)).digest() for s in sites)
).digest()


def agree(own, peer, info):
    shared = own.exchange(X25519PublicKey.from_public_bytes(peer.public_bytes_raw()))
    return hkdf(shared, session, info)


def sealed(site, peer):
    own = split(site.own_mask, THRESHOLD, SITES, site.derive(b"shares of own mask", session))
    masking = split(
        site.masking_seed, THRESHOLD, SITES, site.derive(b"shares of masking key", session)
    )
    numbers = u32(site.number) + u32(peer.number)
    key = agree(site.encryption, peer.encryption.public_key(), b"share" + numbers)
    aad = context(b"chancery-secagg-v1 share") + session + numbers
    plain = own[peer.number] + masking[peer.number]
    return AESGCM(key).encrypt(bytes(12), plain, aad)


def masked(site, values):
    """Adds a site's masks to ring elements and packs them, least significant bit first."""
    total = list(values)
    seeds = [(site.own_mask, 1)]
    for peer in sites:
        if peer is not site:
            low, high = sorted([site.number, peer.number])
            info = b"pair mask" + u32(low) + u32(high)
            seed = agree(site.masking, peer.masking.public_key(), info)
            seeds.append((seed, 1 if site.number < peer.number else -1))
    for seed, sign in seeds:
        keys = struct.unpack(f"<{len(total)}H", stream(seed, 2 * len(total)))
        total = [value + sign * key for value, key in zip(total, keys)]
    bits = sum((value % (1 << RING_BITS)) << (RING_BITS * i) for i, value in enumerate(total))
    return bits.to_bytes((RING_BITS * len(total) + 7) // 8, "little")


def advert(of, **changes):
    fields = {
        "site": of.number,
        "encryption": of.encryption.public_key().public_bytes_raw().hex(),
        "masking": of.masking.public_key().public_bytes_raw().hex(),
        "commitment": of.commitment.hex(),
        "signature": of.signature.hex(),
    }
    return {**fields, **changes}


def signed(site, **changes):
    """An advert with changed keys under a good signature."""
    fields = advert(site, **changes)
    text = (
        context(b"chancery-secagg-v1 keys")
        + u32(fields["site"])
        + bytes.fromhex(fields["encryption"] + fields["masking"] + fields["commitment"])
    )
    return {**fields, "signature": site.identity.sign(text).hex()}


def update(site):
    values = [(site.number * 100 + i) % 4096 for i in range(ELEMENTS + 1)]
    packed = masked(site, values)
    root = sha256(b"\x00" + packed).digest()
    text = context(b"chancery-secagg-v1 update") + session + u32(site.number) + root
    return {
        "values": values,
        "masked": packed.hex(),
        "root": root.hex(),
        "signature": site.identity.sign(text).hex(),
    }


good = [advert(site) for site in sites]
one, other = sites[1], sites[2]
bad = [
    ("bad_signature", "CH1507", [good[0], advert(one, signature=other.signature.hex()), good[2]]),
    ("bad_masking_key", "CH1507", [good[0], advert(one, masking=good[2]["masking"]), good[2]]),
    ("bad_site_number", "CH1507", [good[0], advert(one, site=2)]),
    ("bad_twice", "CH1506", [good[0], good[1], good[1], good[2]]),
    ("bad_zero_key", "CH1508", [good[0], signed(one, masking="00" * 32), good[2]]),
    ("bad_stolen_key", "CH1508", [good[0], good[1], signed(other, encryption=good[1]["encryption"])]),
    ("bad_too_few", "CH1501", [good[0], good[1]]),
    ("bad_unknown_site", "CH1507", [*good, advert(one, site=9)]),
]

print(
    json.dumps(
        {
            "plan": plan.hex(),
            "run": run.decode(),
            "round": round_,
            "threshold": THRESHOLD,
            "ringBits": RING_BITS,
            "sites": [
                {
                    "pseudonym": site.pseudonym,
                    "identity": site.public().hex(),
                    "identitySeed": (u32(site.number + 1) + bytes(28)).hex(),
                    "secret": site.secret.hex(),
                    "ownMask": site.own_mask.hex(),
                    "advert": advert(site),
                    "sealed": [sealed(site, peer).hex() for peer in sites if peer is not site],
                    "update": update(site),
                }
                for site in sites
            ],
            "session": session.hex(),
            "bad": [
                {"name": name, "code": code, "adverts": adverts} for name, code, adverts in bad
            ],
        },
        indent=1,
    )
)
