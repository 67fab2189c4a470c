package podworker

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

const (
	maxMessage  = 4096
	maxLogBytes = 2048
	maxLogLines = 80
)

// terminationMessage is what a container left to be said about its end: the contents of its file, or where it failed without
// writing any and its policy says so, the end of its log.
func terminationMessage(s runtime.ContainerStatus) string {
	var message string
	if path := s.Annotations[annotationMessageFile]; path != "" {
		if f, err := os.Open(path); err == nil {
			data, _ := io.ReadAll(io.LimitReader(f, maxMessage))
			f.Close()
			message = strings.ToValidUTF8(string(data), "\uFFFD")
		}
	}
	if message == "" && s.ExitCode != 0 && s.Annotations[annotationMessagePolicy] == "FallbackToLogsOnError" {
		message = logTail(s.LogPath)
	}
	if message == "" {
		return s.Message
	}
	return message
}

// logTail reads the end of a log in the CRI format: lines of time, stream, P(artial) or F(ull), text.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const window = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > window {
		if _, err := f.Seek(-window, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, window))
	if err != nil {
		return ""
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	var text [][]byte
	full := 0
	for i := len(lines) - 1; i >= 0; i-- {
		parts := bytes.SplitN(lines[i], []byte(" "), 4)
		if len(parts) < 4 {
			continue
		}
		body := parts[3]
		if string(parts[2]) == "P" {
			body = bytes.TrimSuffix(body, []byte("\n"))
		} else if full++; full > maxLogLines {
			break
		}
		text = append(text, body)
	}
	var out []byte
	for i := len(text) - 1; i >= 0; i-- {
		out = append(out, text[i]...)
	}
	if len(out) > maxLogBytes {
		out = out[len(out)-maxLogBytes:]
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}
