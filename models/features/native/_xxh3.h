/* XXH3 with 64 bits, a seed and the default secret, for little-endian machines. Algorithm and
 * constants are those of the xxHash project (Yann Collet); tests compare every code path with the
 * package xxhash. */

#ifndef WEIR_XXH3_H
#define WEIR_XXH3_H

#include <stdint.h>
#include <string.h>

#define PRIME32_1 0x9E3779B1u
#define PRIME32_2 0x85EBCA77u
#define PRIME32_3 0xC2B2AE3Du
#define PRIME64_1 0x9E3779B185EBCA87u
#define PRIME64_2 0xC2B2AE3D27D4EB4Fu
#define PRIME64_3 0x165667B19E3779F9u
#define PRIME64_4 0x85EBCA77C2B2AE63u
#define PRIME64_5 0x27D4EB2F165667C5u
#define PRIME_MX1 0x165667919E3779F9u
#define PRIME_MX2 0x9FB21C651E98DF25u

enum { SECRET = 192, STRIPE = 64, STRIPES = (SECRET - STRIPE) / 8 };

static const uint8_t secret_default[SECRET] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static inline uint64_t
load8(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t
load4(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t
rotated(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

/* Both halves of the 128-bit product, folded. */
static inline uint64_t
folded(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t
avalanche(uint64_t hash)
{
    hash = (hash ^ hash >> 37) * PRIME_MX1;
    return hash ^ hash >> 32;
}

static inline uint64_t
mixed(const uint8_t *at, const uint8_t *secret, uint64_t seed)
{
    return folded(load8(at) ^ (load8(secret) + seed), load8(at + 8) ^ (load8(secret + 8) - seed));
}

static inline uint64_t
xxh3_to_16(const uint8_t *at, size_t size, uint64_t seed)
{
    const uint8_t *secret = secret_default;
    if (size > 8) {
        uint64_t low = load8(at) ^ ((load8(secret + 24) ^ load8(secret + 32)) + seed);
        uint64_t high = load8(at + size - 8) ^ ((load8(secret + 40) ^ load8(secret + 48)) - seed);
        return avalanche(size + __builtin_bswap64(low) + high + folded(low, high));
    }
    if (size >= 4) {
        seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
        uint64_t hash = load4(at + size - 4) + ((uint64_t)load4(at) << 32);
        hash ^= (load8(secret + 8) ^ load8(secret + 16)) - seed;
        hash ^= rotated(hash, 49) ^ rotated(hash, 24);
        hash *= PRIME_MX2;
        hash ^= (hash >> 35) + size;
        hash *= PRIME_MX2;
        return hash ^ hash >> 28;
    }
    uint64_t hash;
    if (size > 0) {
        hash = (uint32_t)at[0] << 16 | (uint32_t)at[size / 2] << 24 | at[size - 1] |
               (uint32_t)size << 8;
        hash ^= (load4(secret) ^ load4(secret + 4)) + seed;
    }
    else {
        hash = seed ^ load8(secret + 56) ^ load8(secret + 64);
    }
    hash = (hash ^ hash >> 33) * PRIME64_2;
    hash = (hash ^ hash >> 29) * PRIME64_3;
    return hash ^ hash >> 32;
}

static inline uint64_t
xxh3_to_128(const uint8_t *at, size_t size, uint64_t seed)
{
    uint64_t hash = size * PRIME64_1;
    for (size_t i = (size - 1) / 32 + 1; i-- > 0;) {
        hash += mixed(at + 16 * i, secret_default + 32 * i, seed);
        hash += mixed(at + size - 16 * (i + 1), secret_default + 32 * i + 16, seed);
    }
    return avalanche(hash);
}

static uint64_t
xxh3_to_240(const uint8_t *at, size_t size, uint64_t seed)
{
    uint64_t hash = size * PRIME64_1;
    for (size_t i = 0; i < 8; i++) {
        hash += mixed(at + 16 * i, secret_default + 16 * i, seed);
    }
    hash = avalanche(hash);
    for (size_t i = 8; i < size / 16; i++) {
        hash += mixed(at + 16 * i, secret_default + 16 * (i - 8) + 3, seed);
    }
    return avalanche(hash + mixed(at + size - 16, secret_default + 136 - 17, seed));
}

static inline void
accumulate(uint64_t lanes[8], const uint8_t *stripe, const uint8_t *secret)
{
    for (int i = 0; i < 8; i++) {
        uint64_t word = load8(stripe + 8 * i), key = word ^ load8(secret + 8 * i);
        lanes[i ^ 1] += word;
        lanes[i] += (key & 0xFFFFFFFFu) * (key >> 32);
    }
}

static uint64_t
xxh3_long(const uint8_t *at, size_t size, uint64_t seed)
{
    uint64_t lanes[8] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                         PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};
    uint8_t secret[SECRET];
    for (int i = 0; i < SECRET; i += 16) {
        uint64_t low = load8(secret_default + i) + seed, high = load8(secret_default + i + 8) - seed;
        memcpy(secret + i, &low, 8);
        memcpy(secret + i + 8, &high, 8);
    }
    size_t stripe = 0, whole = (size - 1) / STRIPE;
    while (stripe < whole) {
        accumulate(lanes, at + STRIPE * stripe, secret + 8 * (stripe % STRIPES));
        if (++stripe % STRIPES == 0) {
            for (int i = 0; i < 8; i++) {
                lanes[i] ^= lanes[i] >> 47;
                lanes[i] = (lanes[i] ^ load8(secret + SECRET - STRIPE + 8 * i)) * PRIME32_1;
            }
        }
    }
    accumulate(lanes, at + size - STRIPE, secret + SECRET - STRIPE - 7);
    uint64_t hash = size * PRIME64_1;
    for (int i = 0; i < 4; i++) {
        hash += folded(lanes[2 * i] ^ load8(secret + 11 + 16 * i),
                       lanes[2 * i + 1] ^ load8(secret + 11 + 16 * i + 8));
    }
    return avalanche(hash);
}

static inline uint64_t
xxh3(const uint8_t *at, size_t size, uint64_t seed)
{
    return size <= 16    ? xxh3_to_16(at, size, seed)
           : size <= 128 ? xxh3_to_128(at, size, seed)
           : size <= 240 ? xxh3_to_240(at, size, seed)
                         : xxh3_long(at, size, seed);
}

#endif
