package ttl

import "testing"

func TestNext(t *testing.T) {
	tests := []struct {
		name              string
		step, nodes, want int
	}{
		{name: "small", nodes: 100, want: 0},
		{name: "grown", nodes: 101, want: 1},
		{name: "shrunk a little", step: 1, nodes: 95, want: 1},
		{name: "shrunk", step: 1, nodes: 89, want: 0},
		{name: "large at the start", nodes: 1500, want: 3},
		{name: "gone", step: 4, nodes: 0, want: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := next(tt.step, tt.nodes); got != tt.want {
				t.Errorf("step %d, want %d", got, tt.want)
			}
		})
	}
}
