package pid1

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// maxLog is the size at which a log file is moved aside. One predecessor is kept.
const maxLog = 32 << 20

// openLog opens a component's log file for appending, which makes cutting it short under the writer safe.
func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
}

// watchLogs cuts log files that have grown too long, for as long as the machine lives.
func watchLogs(folder string, every time.Duration) {
	for range time.Tick(every) {
		files, err := filepath.Glob(filepath.Join(folder, "*.log"))
		if err != nil {
			slog.Error("log files cannot be listed", "err", err)
		}
		for _, f := range files {
			if err := cutLog(f, maxLog); err != nil {
				slog.Error("log file cannot be cut", "file", f, "err", err)
			}
		}
	}
}

// cutLog copies a file longer than limit to FILE.1 and empties it. Copied, not renamed, since the writer holds it open.
func cutLog(path string, limit int64) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() <= limit {
		return err
	}
	from, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path + ".1")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close(), from.Truncate(0))
}
