// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"unicode/utf16"
)

// A registry hive is a header and blocks of 4 KiB, here one, which has cells: a root key, which security it has, and
// nothing.
// https://github.com/msuhanov/regf/blob/master/Windows%20registry%20file%20format%20specification.md
const (
	hiveBlock   = 4096
	hiveHeader  = 32         // of a block
	hiveNothing = 0xFFFFFFFF // no cell
)

// emptyHive returns a registry hive with a root key and nothing in it, the same bytes for the same name.
func emptyHive(name string) []byte {
	hive := make([]byte, 2*hiveBlock)
	head, block := hive[:hiveBlock], hive[hiveBlock:]
	key, security := rootKey(name), rootSecurity()
	keyAt := uint32(hiveHeader)
	securityAt := keyAt + putCell(block, keyAt, key)
	freeAt := securityAt + putCell(block, securityAt, security)
	put := binary.LittleEndian.PutUint32
	put(block[keyAt+4+44:], securityAt)
	put(block[securityAt+4+4:], securityAt) // the list of securities is a ring
	put(block[securityAt+4+8:], securityAt)
	put(block[freeAt:], hiveBlock-freeAt) // positive: free

	copy(block, "hbin")
	put(block[8:], hiveBlock)

	copy(head, "regf")
	put(head[4:], 1) // written once
	put(head[8:], 1)
	put(head[20:], 1) // version 1.3
	put(head[24:], 3)
	put(head[32:], 1) // loaded directly into memory
	put(head[36:], keyAt)
	put(head[40:], hiveBlock)
	put(head[44:], 1)
	for i, unit := range utf16.Encode([]rune(name)) {
		binary.LittleEndian.PutUint16(head[48+2*i:], unit)
	}
	put(head[508:], hiveChecksum(head))
	return hive
}

// hiveChecksum returns the checksum of a header.
func hiveChecksum(head []byte) uint32 {
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= binary.LittleEndian.Uint32(head[i:])
	}
	switch sum {
	case 0:
		return 1
	case hiveNothing:
		return hiveNothing - 1
	}
	return sum
}

// putCell writes a cell and returns its size: with the size itself before it, a multiple of eight.
func putCell(block []byte, at uint32, content []byte) uint32 {
	size := uint32(4+len(content)+7) / 8 * 8
	binary.LittleEndian.PutUint32(block[at:], -size) // negative: in use
	copy(block[at+4:], content)
	return size
}

// rootKey returns the key that has all others, of which there are none.
func rootKey(name string) []byte {
	const fixed = 76
	key := make([]byte, fixed+len(name))
	copy(key, "nk")
	put := binary.LittleEndian
	put.PutUint16(key[2:], 0x04|0x08|0x20) // the root, not to be deleted, with a name of ASCII
	put.PutUint32(key[16:], hiveNothing)   // no parent
	put.PutUint32(key[28:], hiveNothing)   // no keys
	put.PutUint32(key[32:], hiveNothing)   // and no volatile ones
	put.PutUint32(key[40:], hiveNothing)   // no values
	put.PutUint32(key[48:], hiveNothing)   // no class
	put.PutUint16(key[72:], uint16(len(name)))
	copy(key[fixed:], name)
	return key
}

// rootSecurity returns who may use the root key: administrators, who own it, and the system.
func rootSecurity() []byte {
	administrators := []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0} // S-1-5-32-544
	system := []byte{1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0}                        // S-1-5-18
	allow := func(sid []byte) []byte {
		const all = 0x000F003F
		entry := []byte{0, 2, byte(8 + len(sid)), 0} // it is for all keys below, too
		return append(binary.LittleEndian.AppendUint32(entry, all), sid...)
	}
	entries := append(allow(system), allow(administrators)...)
	list := append([]byte{2, 0, byte(8 + len(entries)), 0, 2, 0, 0, 0}, entries...)

	descriptor := []byte{1, 0, 0x04, 0x80} // with a list of who may, all in one piece
	const owner = 20
	group := uint32(owner + len(administrators))
	for _, offset := range []uint32{owner, group, 0, group + uint32(len(system))} {
		descriptor = binary.LittleEndian.AppendUint32(descriptor, offset)
	}
	descriptor = append(append(append(descriptor, administrators...), system...), list...)

	security := make([]byte, 20, 20+len(descriptor))
	copy(security, "sk")
	binary.LittleEndian.PutUint32(security[12:], 1) // one key has it
	binary.LittleEndian.PutUint32(security[16:], uint32(len(descriptor)))
	return append(security, descriptor...)
}
