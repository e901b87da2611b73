package store

import (
	"errors"
	"strings"
)

// maxRegister is the length of the longest name of a register.
const maxRegister = 100

// CheckRegister says what is wrong with a name of a register, nil if nothing. Every Registers refuses the same names.
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
