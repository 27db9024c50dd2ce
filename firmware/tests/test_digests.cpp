#include "check.h"
#include "hil/crc32.h"
#include "hil/sha256.h"
#include "stream.h"

using namespace hil;
using hil::test::to_hex;

namespace {

std::string sha256(Bytes bytes, std::size_t piece) {
  Sha256 sha;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    sha.update(bytes.part(at, bytes.size() - at < piece ? bytes.size() - at : piece));
  }
  const Sha256::Digest digest = sha.finish();
  return to_hex(Bytes(digest.data(), digest.size()));
}

}  // namespace

TEST(crc32_gives_the_check_value_of_the_standard) {
  CHECK_EQ(crc32(as_bytes("123456789")), 0xCBF43926u);
  CHECK_EQ(crc32({}), 0u);
}

TEST(crc32_can_be_continued_anywhere) {
  const test::ByteVector bytes(1000, 0xA5);
  const Bytes all = test::view(bytes);
  for (std::size_t cut = 0; cut <= 40; ++cut) CHECK_EQ(crc32(all.from(cut), crc32(all.first(cut))), crc32(all));
}

TEST(bytes_followed_by_their_own_crc_give_one_residue) {
  test::ByteVector bytes{1, 2, 3, 0, 5};
  const std::uint32_t crc = crc32(test::view(bytes));
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
  CHECK_EQ(crc32(test::view(bytes)), 0x2144DF1Cu);
}

// FIPS 180-4 and NIST's example values.
TEST(sha256_gives_the_published_digests) {
  CHECK_EQ(sha256({}, 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(sha256(as_bytes("abc"), 1), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), 7),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  const test::ByteVector million(1000000, 'a');
  CHECK_EQ(sha256(test::view(million), 997), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
