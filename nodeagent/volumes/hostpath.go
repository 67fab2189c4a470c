package volumes

import (
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var timeZero time.Time

// checkHostPath holds a path of the node against the type that the volume wants it to be, and makes it where the type says so.
func checkHostPath(path string, kind *corev1.HostPathType) error {
	if kind == nil || *kind == corev1.HostPathUnset {
		return nil
	}
	switch *kind {
	case corev1.HostPathDirectoryOrCreate:
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return os.MkdirAll(path, 0o755)
		}
		return mustBe(path, "directory", os.ModeDir)
	case corev1.HostPathFileOrCreate:
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
			if err != nil {
				return err
			}
			return f.Close()
		}
		return mustBe(path, "file", 0)
	case corev1.HostPathDirectory:
		return mustBe(path, "directory", os.ModeDir)
	case corev1.HostPathFile:
		return mustBe(path, "file", 0)
	case corev1.HostPathSocket:
		return mustBe(path, "socket file", os.ModeSocket)
	case corev1.HostPathCharDev:
		return mustBe(path, "character device", os.ModeDevice|os.ModeCharDevice)
	case corev1.HostPathBlockDev:
		return mustBe(path, "block device", os.ModeDevice)
	}
	return fmt.Errorf("%s is an invalid volume type", *kind)
}

func mustBe(path, what string, mode os.FileMode) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != mode {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", path, what)
	}
	return nil
}
