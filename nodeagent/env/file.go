package env

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// parseFile finds key in a file of NAME='value' lines and returns its value, "" when it is not there. Values stand in single
// quotes, are taken literally and may span lines; blank lines, # comments and leading blanks are skipped.
func parseFile(r io.Reader, key string) (string, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		if !ok || name == "" || name != strings.TrimRight(name, " \t") {
			return "", fmt.Errorf("line %d is not of the form NAME='value'", number)
		}
		if strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t") {
			// As in a shell, a blank after '=' assigns nothing.
			if name == key {
				return "", nil
			}
			continue
		}
		if !strings.HasPrefix(rest, "'") {
			return "", fmt.Errorf("line %d: a value stands in single quotes", number)
		}
		rest = rest[1:]
		var value strings.Builder
		for {
			text, after, closed := strings.Cut(rest, "'")
			value.WriteString(text)
			if closed {
				if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
					return "", fmt.Errorf("line %d: text after the closing quote", number)
				}
				break
			}
			value.WriteByte('\n')
			if !lines.Scan() {
				return "", fmt.Errorf("line %d: the quote is not closed", number)
			}
			number++
			rest = lines.Text()
		}
		if name == key {
			return value.String(), nil
		}
	}
	return "", lines.Err()
}
