package apiserver

import "testing"

func TestRoomOfTheCollector(t *testing.T) {
	for _, c := range []struct {
		name       string
		live, room uint64
		percent    int
	}{
		{"a young server", 1 << 20, gcRoom, gcMost},
		{"a small one has all of its room", 16 << 20, gcRoom, 200},
		{"a large one a fifth of its heap", 1 << 30, gcRoom, gcLeast},
		{"an idle one has less", 16 << 20, gcQuiet, 25},
		{"an idle one that is large", 1 << 30, gcQuiet, gcLeast},
	} {
		if got := gcPercent(c.live, c.room); got != c.percent {
			t.Errorf("%s: %d %%", c.name, got)
		}
	}
}
