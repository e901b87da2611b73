package store

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
)

// NewID draws a random id of 80 bits, 16 characters of a-z and 2-7: for vaults,
// logs, commits, lineages and gaps.
func NewID() string {
	var b [10]byte
	rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// validID says what vaults, nodes, logs and the like may be called: 1 to 64
// letters, digits, '-', '_' and '.', beginning with a letter or digit. They
// become parts of log origins, so there is no '/', space or '+' in them.
func validID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if !idByte(s[i]) && (i == 0 || !strings.ContainsRune("-_.", rune(s[i]))) {
			return false
		}
	}
	return true
}

func idByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// validName says what the middle of a record name may be: ids joined by '/',
// 128 characters at most.
func validName(s string) bool {
	if len(s) > 128 {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !validID(part) {
			return false
		}
	}
	return true
}

// maxRegister is the length of the longest name of a register.
const maxRegister = 100

// CheckRegister says what is wrong with a register's name, nil if nothing. Every implementation of Registers refuses the same.
func CheckRegister(name string) error {
	bad := errors.New("a register's name is 1 to 100 letters, digits, '-', '_' and '.', beginning with a letter")
	if name == "" || len(name) > maxRegister || !idByte(name[0]) || name[0] <= '9' {
		return bad
	}
	for i := range len(name) {
		if !idByte(name[i]) && !strings.ContainsRune("-_.", rune(name[i])) {
			return bad
		}
	}
	return nil
}
