package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testPassword = "geheim"

func TestSecretHides(t *testing.T) {
	s := Secret{testPassword}
	b, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": []Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	shown := string(b) + fmt.Sprint(s, &s, []Secret{s}, struct{ S Secret }{s}, slog.AnyValue(s))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, []Secret{s}) + fmt.Sprintf(verb, struct{ S Secret }{s})
	}
	if strings.Contains(shown, testPassword) || strings.Contains(shown, fmt.Sprintf("%x", testPassword)) {
		t.Errorf("shown: %s", shown)
	}
	if s.Reveal() != testPassword {
		t.Error("Reveal does not reveal")
	}
}

func writeFile(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // WriteFile's mode is less the umask
		t.Fatal(err)
	}
	return path
}

func TestSecretFile(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want string // in the error; empty: it is read
	}{
		"good":              {testPassword + "\n", 0o640, ""},
		"no newline":        {testPassword, 0o600, ""},
		"Windows newline":   {testPassword + "\r\n", 0o400, ""},
		"second line":       {testPassword + "\nof the mysql user\n", 0o600, ""},
		"world-readable":    {testPassword, 0o644, "type: chmod o= "},
		"world-writable":    {testPassword, 0o602, "has mode 0602"},
		"empty":             {"", 0o600, "is empty"},
		"an empty line":     {"\n" + testPassword, 0o600, "is empty"},
		"not a secret file": {strings.Repeat("x", maxSecret+1), 0o600, "not a password file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "password", tc.text, tc.mode)
			got, err := SecretFile{Path: path}.Read(os.Getenv)
			if tc.want == "" {
				if err != nil || got.Reveal() != testPassword {
					t.Errorf("got %q, %v", got.Reveal(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), testPassword) {
				t.Errorf("got %v, want the file and %q, and not the password", err, tc.want)
			}
		})
	}
}

func TestSecretFileMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	_, err := SecretFile{Path: path}.Read(os.Getenv)
	if err == nil || !strings.Contains(err.Error(), path+" does not exist; write the password there") {
		t.Errorf("got %v", err)
	}
	_, err = SecretFile{Path: t.TempDir()}.Read(os.Getenv)
	if err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder: got %v", err)
	}
}

func TestSystemdCredential(t *testing.T) {
	path := writeFile(t, "mysql.password", testPassword, 0o400)
	f := SecretFile{Path: credentialsDir + "/mysql.password"}
	got, err := f.Read(func(string) string { return filepath.Dir(path) })
	if err != nil || got.Reveal() != testPassword {
		t.Errorf("got %v", err)
	}
	if _, err := f.Read(func(string) string { return "" }); !errors.Is(err, errNoCredentials) {
		t.Errorf("outside a unit: got %v, want errNoCredentials", err)
	}
}
