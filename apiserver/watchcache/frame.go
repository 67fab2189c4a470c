package watchcache

// Frame is an event as a watch stream carries it, in pieces: Body is shared by all watchers of a form, Head and Tail are a
// few bytes around it. JSON is a line {"type":…,"object":…}; protobuf is a WatchEvent after its length in four bytes.
type Frame struct{ Head, Body, Tail []byte }

// AppendTo appends the frame to a buffer.
func (f Frame) AppendTo(b []byte) []byte {
	return append(append(append(b, f.Head...), f.Body...), f.Tail...)
}

// Len is the length of the whole frame.
func (f Frame) Len() int { return len(f.Head) + len(f.Body) + len(f.Tail) }

// Frame is the event in one form.
func (e Event) Frame(form Form) (Frame, error) { panic("in work") }
