package run

import (
	"os"
	"testing"
)

func TestOwnPages(t *testing.T) {
	tests := []struct {
		name, line string
		from, size uintptr
		ok         bool
	}{
		{name: "code", line: "00400000-00500000 r-xp 00000000 08:01 12 /bin/x\n", from: 0x400000, size: 0x100000, ok: true},
		{name: "tables", line: "00500000-00501000 r--p 00100000 08:01 12 /bin/x\n", from: 0x500000, size: 0x1000, ok: true},
		{name: "data that was written to would be lost", line: "00501000-00502000 rw-p 00101000 08:01 12 /bin/x\n"},
		{name: "another file", line: "7f00-7f01 r-xp 00000000 08:01 13 /lib/libc.so\n"},
		{name: "no file", line: "c000000000-c000400000 rw-p 00000000 00:00 0\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, size, ok := ownPages(tt.line, "/bin/x")
			if from != tt.from || size != tt.size || ok != tt.ok {
				t.Errorf("ownPages: %x %x %v", from, size, ok)
			}
		})
	}
}

// The program must still work when its pages are gone.
func TestGiveBack(t *testing.T) {
	GiveBack()
	if _, err := os.ReadFile("/proc/self/maps"); err != nil {
		t.Fatal(err)
	}
}
