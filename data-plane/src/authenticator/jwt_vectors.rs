//! Keys and tokens of PyJWT 2, all with the claims `{"sub":"42"}`; their private keys were thrown away.

pub(super) const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt9ZcswvT79QvulG5iDhZ
ZZiOSVqBlC1iYGwHDhRdFVlo1IvBL5EymWuFdHIocgerdglk9CIThpE/gz9r+MyF
gvLrfCju6B6qgJ3+qsPG2hOibizVrTQNvat9WLfCQzO5LfCQz4eQfVJ3aq0WVXbN
eJ5VcjpUjuE2FBUBYKGY+HDw4fU8xY3CFgVTPq7EmsQtA/JP0uR/gr+2I8IpQp3H
Ixz3SLFrOVCg1nQnF8h3SCVBQV6pDFHxis3ttrBYkiqG5cUR0BVd73aG3wk5Rrim
CwFmV/JEE7w4wyTOvCC40Xi/orIoPpPsEVWUzi/PNDf+5YPk5iexAHNV2CBkCqdV
mwIDAQAB
-----END PUBLIC KEY-----
";

pub(super) const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPRoXQwDb5W+UToC/fQkMXsaUMFlm
JT6Rgt/CL6TZMh5N6ErfUKeTe1XsEM9wWDnlK71WPhGYXPuKoAIEEGfGNg==
-----END PUBLIC KEY-----
";

pub(super) const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE1oRTj6WzAg1BuroNfjlM7lgKRAlMPB3B
6xN3TtCJdVFYHYiJ7UkpHm6IxvR/6FjTD6KZDclwlUjYkjY6Hcjlzl2pKOgiDbHL
ICLtvYhQ+TJwkqMtr3Pn5MxsyxMwbJD9
-----END PUBLIC KEY-----
";

pub(super) const P521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBqfptTJcltyjiN+bFUS/orfUlCOEV
9JQNdfsGWwHlPfBl/8Hn+59FUHDMm3ZiG26kb190aRyq5q+3cpeZyWaHf2UBuGAe
vKQuP447sS6GE7FCBgwChms5OQPM0cqYk3vCuns9d6ufv7DMZFhIwAefRen5YbWh
t1JwJFgfCi9hd2tVlrc=
-----END PUBLIC KEY-----
";

pub(super) const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA4OV9zdNLYUoOZ1J73TZ8QkQhE9hLbV19xYog+gmycLM=
-----END PUBLIC KEY-----
";

/// Algorithm, token, and the index of its key: the five above in their order, then the shared secret.
pub(super) const TOKENS: [(&str, &str, usize); 13] = [
    (
        "RS256",
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.fonu-P-WClY_BBnQ-csU3zpOzEw_b4FvjOUiOVYiaR9EOduY5imntqCheTlXAGA22MWmMj7Tvtj446VkcgFmB_5yPEKxXLtBRcY76eHJ_-mISnu6cnFdKO6ty5wgYMmFv7CyvEvYf2HmJL-v2QkYbqr5_CCrE5DmzmYCm39sAz59yrcg63vWLq0B3HCB9zSQWwUZxW02tqSgPvAUWYx3zPT3fgBOipaFX8EQGLer89hYPTaF_Dy6rayzIUeneZ8bs9mu5yChb-NAdGtP-hSePlN9O9NvFyEL33KX2aQhZoevrriVb-0Hu9zegebSsVkkvLw0KTdmVwzwUqVWrb-2iQ",
        0,
    ),
    (
        "RS384",
        "eyJhbGciOiJSUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.Ocr7tgZNO8jx2qB9DEOdbqhsVBjK1c1oQ9fQ-3kWLlN48l--AeNe2TsgKBzKWo496WJJkdQmCe5OqRgTFM7M77LeaQjV1SUJVaCqg1YIXDKmz3h4G8NzgieQtob_enLsGC2hm0NZ1_zOMdqHHaSXiXATRFc4eenhyOff5B_cXbtE3FNp2CDnSlfZuH8HlSE0vc-Rb_vNTRqtnNIY1Xh4Yno7MV9nvnkUbKIQy0PTkZody6yY2SEyI0wTUXESqCRpcn0wtNR_mbMqDw4sai-FJ68ictjCPMRBIykKbTXjnmQoh-FY3Cs7cdOnfeG_oEKkKnARzfLh9M7WDCZrqY1Zxg",
        0,
    ),
    (
        "RS512",
        "eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.KpZVfPqT5bMkNTChiltK14se_gxgx1aEyyaM-3kjfESGVC-AdPoeAQ6SPLivMPE7SlbWdenN-9RjxnOcvt3XrA0wwKpdQWaMeb9w1OXBfRG60sd7osDxptWfiTESRA7L2VarlBscyRaoiFreoZaZCdyfM7VVpRDW6Qtilq5JI1sRMg2k_8SmoPY_zXYAnYBQcvCIemSI5PW5oHOyCvaL6MJctERMzubGUSnl8ki8UYAGCm3KImtBoUSBzp_ttlupSmM3FIwz0auKPwyAJc-4nlA8gWQHek7A4IUA5YEP4mkMV2ae6SVuUaXPl4RMfU-xO8QXTf2d9DSd7ulTWtOF1w",
        0,
    ),
    (
        "PS256",
        "eyJhbGciOiJQUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.k-bZJkAyo_kt-Gj6qzau80nl2rNCWPBX_gf_vj38n3HIP0zZzYOTj-teJduVPJe96MPEjSVAPasgOSXqCuaLY1B7Q2jLmC_7KBvcmHZ_L2sJvBLQ4gAXrCiT3imo43oCL-avpjm-fe4qYe8ojD51VGbXheFtfPFZqsIv5iONs2SEhIwRxnBrOzyZdctZ3r9iiWF61Nx05Vt9Bfhwl9TfXfnBO07B5zhJi3LRsPJGrsVGPxmiYERO6NpMWZNlk6j_jD9jZRlvYR6U8hzCRI-wGPVp48rr8RlhYossEZfOr4HbZEGMx9c3a_jDp9DKjl39wOgXQUORCE6Q2VWr05xVJA",
        0,
    ),
    (
        "PS384",
        "eyJhbGciOiJQUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.d-CT-cFKXCU9ezOCKr5q-tnQNGn8SZ6l_O6Fh8wpRBr8_5S83OkSp4WiXshRU4Eq_CH4INicSVUU9IHnft1FZU5K98MzrxxESlWWG2ftq-uHYc5VjzhZRB19I0k8WRKRfTbTNxgCv9LtvcecyaKyHtcgjzjxgsfsekQTm1YX2foaTXVtOu1TlsDexH-watCYutACMvrhRsNKvCgEPPAkOMgrvBSfHOvH16LIYunheAKh_Kuj73TxVxl4fXyoPC73ZTPcZHT-27q5rRbSAoLiJXxKvb93q4HccuzYI5P5S6BN0qhYWzx5Eg5S_D_0pT_mr46FklO8H20ZwSO7W6dehQ",
        0,
    ),
    (
        "PS512",
        "eyJhbGciOiJQUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.lUm8tmJ0r836A0dJRmY9FC1dCvKpphIar6uMLCkfUqxhNvpAHyWqp10hBahkb3G_s39V70EC9-cdOCM1FenlcvBe1nJCt_Ncs6FoTCKgQcZah0vEJ2FKl6X1LLHGI4YolcCHpQnw3kgUkvc0KyKDHs8ZUcluTYtC5x1ls90TSmxIWBw6foiU7xttdhtkoXexU8TvzLfqoqZGZYLGbEi5dRW1et87cHhs9Dh5Qa7QXTUhrMfciSROkG7Jwm2I-RB9Gzr-To9NJ9wM7TiMqNYM8cai33h_8U6O-CXACFnU_INxQGRWL4l9vdBhYkBRRV8cCKni6MEyuoyNVEDS7_7ARA",
        0,
    ),
    (
        "ES256",
        "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.LNewIQoeL37_sJ5jtjGLmCCoXeZlkJxtR0Ljq12PwXfpogK2tl0B1zBYH993eaF14YJ4j69UdQGT8t91jSDuiw",
        1,
    ),
    (
        "ES384",
        "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.kidpdD-rccjbMTbvZceWOKjZlQqgAzO57QFbm-k34hIvU6jLkbeHiZz6Nu2GFbBIDHNWFCkohx1pUd9-Iz4JftLRzNjR5cGAXPte0Iww1TOLiH1g9UHhEadng4kgWh1s",
        2,
    ),
    (
        "ES512",
        "eyJhbGciOiJFUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.ASames3wmuMltHK1tkDd-v5Kplm4xWdleLhtkDUhMbGKHQh80JLERDMeN7vuoSa-Np7RpU0fPJqbcdyxh-Xhzj77Aacr6WLqgDqA-VvJQRoZhnRD2_wYdxU2WG9j5yT560PAf2y2WAwiwi2WE-Gv_znWDmaXOVfx_-jnwOv9aZx7NiC-",
        3,
    ),
    (
        "EdDSA",
        "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.hFA4dPoE1V9syGr1Q-dJaNnukZmCRuvBmBw9hFsJIK_ewuc212b4YkYedt79uvXGuM_9hb9AdvkoG9vTocNVDA",
        4,
    ),
    (
        "HS256",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.s_hDM1WpcG6qiDLiwAkJy3pkuoQvR9ewKnUNY--Vi-c",
        5,
    ),
    (
        "HS384",
        "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.aHYV6LUAJf_lqMKf_GNqEJJSvJXcy_fOF3FdI1ol-0EU4No7Z7-y6Y6-SnAJ-wiF",
        5,
    ),
    (
        "HS512",
        "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.woWgCL96Sup3famxsTqBz7L9LeDvyXOK_43TysNKRkNCoMl_BFGXcXj4g2ObzMX1SXY4dMFQm6WbOjDttJm-eg",
        5,
    ),
];

/// The same keys as a set, with three that must be left out.
pub(super) const JWKS: &str = r#"{"keys": [{"kty": "RSA", "n": "t9ZcswvT79QvulG5iDhZZZiOSVqBlC1iYGwHDhRdFVlo1IvBL5EymWuFdHIocgerdglk9CIThpE_gz9r-MyFgvLrfCju6B6qgJ3-qsPG2hOibizVrTQNvat9WLfCQzO5LfCQz4eQfVJ3aq0WVXbNeJ5VcjpUjuE2FBUBYKGY-HDw4fU8xY3CFgVTPq7EmsQtA_JP0uR_gr-2I8IpQp3HIxz3SLFrOVCg1nQnF8h3SCVBQV6pDFHxis3ttrBYkiqG5cUR0BVd73aG3wk5RrimCwFmV_JEE7w4wyTOvCC40Xi_orIoPpPsEVWUzi_PNDf-5YPk5iexAHNV2CBkCqdVmw", "e": "AQAB", "kid": "rsa", "use": "sig", "alg": "RS256"}, {"kty": "EC", "crv": "P-256", "x": "PRoXQwDb5W-UToC_fQkMXsaUMFlmJT6Rgt_CL6TZMh4", "y": "TehK31Cnk3tV7BDPcFg55Su9Vj4RmFz7iqACBBBnxjY", "kid": "p256"}, {"kty": "EC", "crv": "P-521", "x": "Aan6bUyXJbco4jfmxVEv6K31JQjhFfSUDXX7BlsB5T3wZf_B5_ufRVBwzJt2YhtupG9fdGkcquavt3KXmclmh39l", "y": "AbhgHrykLj-OO7EuhhOxQgYMAoZrOTkDzNHKmJN7wrp7PXern7-wzGRYSMAHn0Xp-WG1obdScCRYHwovYXdrVZa3", "kid": "p521"}, {"kty": "OKP", "crv": "Ed25519", "x": "4OV9zdNLYUoOZ1J73TZ8QkQhE9hLbV19xYog-gmycLM", "kid": "ed"}, {"kty": "RSA", "n": "t9ZcswvT79QvulG5iDhZZZiOSVqBlC1iYGwHDhRdFVlo1IvBL5EymWuFdHIocgerdglk9CIThpE_gz9r-MyFgvLrfCju6B6qgJ3-qsPG2hOibizVrTQNvat9WLfCQzO5LfCQz4eQfVJ3aq0WVXbNeJ5VcjpUjuE2FBUBYKGY-HDw4fU8xY3CFgVTPq7EmsQtA_JP0uR_gr-2I8IpQp3HIxz3SLFrOVCg1nQnF8h3SCVBQV6pDFHxis3ttrBYkiqG5cUR0BVd73aG3wk5RrimCwFmV_JEE7w4wyTOvCC40Xi_orIoPpPsEVWUzi_PNDf-5YPk5iexAHNV2CBkCqdVmw", "e": "AQAB", "kid": "enc", "use": "enc", "alg": "RS256"}, {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}, {"kty": "ABC", "kid": "unknown"}]}"#;
