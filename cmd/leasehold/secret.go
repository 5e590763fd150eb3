package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSecret bounds what is read of a password file: whatever is longer is
// another file.
const maxSecret = 4 << 10

// credentialsDir is what systemd sets for a unit with LoadCredential=, see
// systemd.exec(5).
const credentialsDir = "${CREDENTIALS_DIRECTORY}"

// Secret is text that no log, status or error may show. Reveal is the only way
// to it.
type Secret struct{ text string }

const hidden = "(hidden)"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.text }

// String hides the text.
func (Secret) String() string { return hidden }

// GoString hides the text from %#v.
func (Secret) GoString() string { return hidden }

// Format hides the text from every verb, also from those that go past String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the text from every encoder that asks.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil } //nolint:unparam // encoding.TextMarshaler

// MarshalJSON hides the text.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil } //nolint:unparam // json.Marshaler

// SecretFile is where a secret is read from: a path, or a systemd credential
// written as ${CREDENTIALS_DIRECTORY}/name.
type SecretFile struct {
	Path string // as it is opened, or with credentialsDir in front
	Line int    // in the configuration
}

// errNoCredentials is returned where a credential is named outside the unit that
// has it.
var errNoCredentials = errors.New("CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit with LoadCredential=, see systemd.exec(5)")

// Read returns the first line of the file. It refuses a file that everybody on
// the host may read or write, and an empty one. The errors name the file and
// never what is in it.
func (f SecretFile) Read(getenv func(string) string) (Secret, error) {
	path := f.Path
	if name, ok := strings.CutPrefix(path, credentialsDir); ok {
		dir := getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return Secret{}, fmt.Errorf("%s: %w", path, errNoCredentials)
		}
		path = filepath.Join(dir, name)
	}
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Secret{}, fmt.Errorf("%s does not exist; write the password there and type: chmod 640 %s", path, path)
	case errors.Is(err, fs.ErrPermission):
		return Secret{}, fmt.Errorf("%s is not for this user; as root type: chgrp leasehold %s && chmod 640 %s, or run this command with sudo", path, path, path)
	case err != nil:
		return Secret{}, fmt.Errorf("read the password: %w", err)
	}
	defer func() { _ = file.Close() }() // only read from
	info, err := file.Stat()
	if err != nil {
		return Secret{}, fmt.Errorf("read the password: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Secret{}, fmt.Errorf("%s is not a file; name the file with the password in its first line", path)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return Secret{}, fmt.Errorf("%s has mode %04o: everybody on this host can get at the password; type: chmod o= %s", path, info.Mode().Perm(), path)
	}
	return readSecret(file, path)
}

func readSecret(r io.Reader, path string) (Secret, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return Secret{}, fmt.Errorf("read the password: %w", err)
	}
	if len(b) > maxSecret {
		return Secret{}, fmt.Errorf("%s has more than %d bytes: that is not a password file", path, maxSecret)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return Secret{}, fmt.Errorf("%s is empty; its first line is the password", path)
	}
	return Secret{line}, nil
}
