// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestEmptyHive reads a hive as Windows does: from the header to the root key and its security, and over all cells.
func TestEmptyHive(t *testing.T) {
	hive := emptyHive("SYSTEM")
	if !bytes.Equal(hive, emptyHive("SYSTEM")) || bytes.Equal(hive, emptyHive("SAM")) {
		t.Error("it is not the same for the same name alone")
	}
	u32 := func(at uint32) uint32 { return binary.LittleEndian.Uint32(hive[at:]) }
	if len(hive) != 8192 || string(hive[:4]) != "regf" || string(hive[4096:4100]) != "hbin" || u32(4) != u32(8) {
		t.Fatalf("%d bytes, which begin with %q, and the block with %q", len(hive), hive[:4], hive[4096:4100])
	}
	if u32(40) != 4096 || u32(4096+4) != 0 || u32(4096+8) != 4096 {
		t.Errorf("the header has blocks of %d bytes, the block is at %d and has %d", u32(40), u32(4096+4), u32(4096+8))
	}
	var sum uint32
	for at := uint32(0); at < 508; at += 4 {
		sum ^= u32(at)
	}
	if sum != u32(508) {
		t.Errorf("checksum %x, want %x", u32(508), sum)
	}
	const cells = 4096
	key := cells + u32(36)
	security := cells + u32(key+4+44)
	if string(hive[key+4:key+6]) != "nk" || u32(key+4+20) != 0 || u32(key+4+36) != 0 || string(hive[key+80:key+86]) != "SYSTEM" {
		t.Errorf("root key %q", hive[key+4:key+90])
	}
	if string(hive[security+4:security+6]) != "sk" || cells+u32(security+8) != security || cells+u32(security+12) != security {
		t.Errorf("security %q", hive[security+4:security+24])
	}
	at, sizes := uint32(cells+32), []int32{}
	for at < 8192 {
		size := int32(u32(at))
		sizes = append(sizes, size)
		if size%8 != 0 || size == 0 {
			t.Fatalf("cells of %d bytes", sizes)
		}
		at += uint32(max(size, -size))
	}
	if at != 8192 || len(sizes) != 3 || sizes[0] >= 0 || sizes[1] >= 0 || sizes[2] <= 0 {
		t.Errorf("cells of %d bytes, want two that are used and one that is free", sizes)
	}
	descriptor := hive[security+4+20 : security+4+20+u32(security+4+16)]
	list := binary.LittleEndian.Uint32(descriptor[16:])
	if size := binary.LittleEndian.Uint16(descriptor[list+2:]); int(list)+int(size) != len(descriptor) {
		t.Errorf("who may use it: at %d, of %d bytes, of %d", list, size, len(descriptor))
	}
}
