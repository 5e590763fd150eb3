package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// leasehold runs one command line, with nothing to read.
func leasehold(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// configFile writes a configuration that needs no other file, and whose etcd
// does not answer.
func configFile(t *testing.T, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := `node: db20-024
run_dir: run
etcd: {endpoints: ["http://127.0.0.1:1", "http://127.0.0.1:2"]}
services:
  mysql:
    vips: [10.20.8.188/24 dev lhtest0]
    ttl: 4s
` + strings.Join(more, "")
	path := filepath.Join(dir, "leasehold.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const secondService = "  other:\n    vips: [10.20.8.189/24 dev lhtest0]\n    ttl: 4s\n"

func TestCommandLines(t *testing.T) {
	one, two := configFile(t), configFile(t, secondService)
	world := configFile(t, "    checks:\n      - mysql: {socket: /run/mysqld.sock, user: u, password_file: "+writeFile(t, "pw", testPassword, 0o644)+"}\n")
	gone := configFile(t, "    checks:\n      - mysql: {socket: /run/mysqld.sock, user: u, password_file: none}\n")
	creds := configFile(t, "    checks:\n      - mysql: {socket: /run/mysqld.sock, user: u, password_file: \"${CREDENTIALS_DIRECTORY}/mysql\"}\n")
	embedded := writeFile(t, "witness.yaml", "node: m1\nrun_dir: run\netcd: {embedded: {dir: none/etcd, insecure: true, members: {m1: 127.9.9.1, m2: 127.9.9.2}}}\n", 0o600)
	bad := writeFile(t, "bad.yaml", "node: a b\nservices: {mysql: {ttl: 1}}\n", 0o600)
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"version":                   {[]string{"version"}, 0, "leasehold ", ""},
		"help":                      {[]string{"--help"}, 0, "switchover", ""},
		"help of a command":         {[]string{"status", "--help"}, 0, "Exit codes: 0 somebody holds", ""},
		"no command":                {nil, 2, "Available Commands", "leasehold: no command given"},
		"unknown command":           {[]string{"stauts"}, 2, "", `"stauts"`},
		"unknown flag":              {[]string{"status", "--fromat", "json"}, 2, "", "leasehold: status: unknown flag: --fromat"},
		"flag without value":        {[]string{"status", "--timeout"}, 2, "", "needs an argument"},
		"version with an argument":  {[]string{"version", "x"}, 2, "", `unknown argument "x"`},
		"two services":              {[]string{"status", "a", "b", "-c", one}, 2, "", "one service at a time"},
		"completion":                {[]string{"completion", "bash"}, 0, "bash completion", ""},
		"complete a service":        {[]string{"__complete", "-c", two, "status", ""}, 0, "mysql\nother\n", ""},
		"complete a node, no etcd":  {[]string{"__complete", "-c", one, "switchover", "--to", ""}, 0, ":4", ""},
		"complete a format":         {[]string{"__complete", "-c", one, "status", "-f", ""}, 0, "table\njson\n", ""},
		"check":                     {[]string{"check", "-c", one}, 0, "is good", ""},
		"check a bad file":          {[]string{"check", "-c", bad}, 2, "", bad + ":1: node \"a b\""},
		"check a bad file, all":     {[]string{"check", "-c", bad}, 2, "", bad + ":2: ttl: 1 has no unit; write 1s"},
		"check, no file":            {[]string{"check", "-c", bad + ".none"}, 2, "", "no such file"},
		"check, password for all":   {[]string{"check", "-c", world}, 2, "", ":9: services.mysql.checks.mysql.password_file: "},
		"check, password for all 2": {[]string{"check", "-c", world}, 2, "", "type: chmod o= "},
		"check, no password file":   {[]string{"check", "-c", gone}, 2, "", "does not exist"},
		"check, a credential":       {[]string{"check", "-c", creds}, 0, "CREDENTIALS_DIRECTORY is not set", ""},
		"run with a bad file":       {[]string{"run", "-c", bad}, 2, "", bad + ":1:"},

		"status in another format":   {[]string{"status", "-c", one, "-f", "yaml"}, 2, "", "table or json"},
		"status of an unknown":       {[]string{"status", "-c", one, "mysq"}, 2, "", `no service "mysq" (did you mean "mysql"?)`},
		"history, which service":     {[]string{"history", "-c", two}, 2, "", "has 2 services; name one of mysql, other"},
		"pause without end":          {[]string{"pause", "-c", one}, 2, "", "--for 1h"},
		"pause with two ends":        {[]string{"pause", "-c", one, "--for", "1h", "--no-end"}, 2, "", "one of --for, --until and --no-end"},
		"pause for long":             {[]string{"pause", "-c", one, "--for", "1000h"}, 2, "", "31 days"},
		"pause for nothing":          {[]string{"pause", "-c", one, "--for", "-1h"}, 2, "", "before it begins"},
		"pause, no time":             {[]string{"pause", "-c", one, "--until", "tomorrow"}, 2, "", "is not a time; write 18:30"},
		"pause, no etcd":             {[]string{"pause", "-c", one, "--for", "1h", "--timeout", "300ms"}, 1, "", "etcd at [http://127.0.0.1:1 http://127.0.0.1:2]"},
		"resume, no etcd":            {[]string{"resume", "-c", one, "--timeout", "300ms"}, 1, "", "resume mysql: etcd at"},
		"switchover, no etcd":        {[]string{"switchover", "-c", one, "--timeout", "300ms"}, 1, "", "switchover mysql: etcd at"},
		"history, no etcd":           {[]string{"history", "-c", one, "--timeout", "300ms"}, 1, "", "history of mysql: etcd at"},
		"release --force, no etcd":   {[]string{"release", "-c", one, "--force", "--timeout", "300ms"}, 1, "", "release mysql: etcd at"},
		"release --purge of one":     {[]string{"release", "-c", one, "--purge", "mysql"}, 2, "", "for the whole host"},
		"release --purge --force":    {[]string{"release", "-c", one, "--purge", "--force"}, 2, "", "without --force"},
		"doctor with an argument":    {[]string{"doctor", "-c", one, "mysql"}, 2, "", `unknown argument "mysql"`},
		"demo --down and more":       {[]string{"demo", "--down", "--keep"}, 2, "", "--down removes a demo"},
		"demo without its story":     {[]string{"demo", "--no-story"}, 2, "", "goes with --keep"},
		"demo by a bad name":         {[]string{"demo", "--down", "--name", "../x"}, 2, "", "write 1 to 32 of a-z"},
		"complete doctor":            {[]string{"__complete", "-c", one, "doctor", ""}, 0, ":4", ""},
		"check, the fence":           {[]string{"check", "-c", one}, 0, "  fence ", ""},
		"release --yes alone":        {[]string{"release", "-c", one, "--yes"}, 2, "", "goes with --force"},
		"member alone":               {[]string{"member", "-c", one}, 2, "Available Commands", "list, add, remove, replace or wipe"},
		"member, unknown":            {[]string{"member", "-c", one, "ad"}, 2, "", `unknown argument "ad"`},
		"member list, external":      {[]string{"member", "list", "-c", one}, 2, "", "etcdctl --endpoints http://127.0.0.1:1,http://127.0.0.1:2 member list"},
		"member wipe, external":      {[]string{"member", "wipe", "-c", one}, 2, "", "an etcd that runs by itself"},
		"member add, one argument":   {[]string{"member", "add", "-c", one, "m4"}, 2, "", "give NAME ADDRESS, 1 arguments were given"},
		"member replace, three":      {[]string{"member", "replace", "-c", one, "a", "b", "c"}, 2, "", "give NAME [ADDRESS], 3 arguments"},
		"member add, no address":     {[]string{"member", "add", "-c", embedded, "m4", "host4"}, 2, "", `"host4" is not the address of a host`},
		"member list as yaml":        {[]string{"member", "list", "-c", embedded, "-f", "yaml"}, 2, "", "table or json"},
		"member list, no timeout":    {[]string{"member", "list", "-c", embedded, "--timeout", "0s"}, 2, "", "over 0"},
		"member list, nobody there":  {[]string{"member", "list", "-c", embedded, "--timeout", "300ms"}, 1, "", "no etcd member answers at http://127.9.9.1:2379"},
		"member remove, nobody":      {[]string{"member", "remove", "-c", embedded, "m2", "--yes", "--timeout", "300ms"}, 1, "", "the one here is not running"},
		"member wipe, nothing there": {[]string{"member", "wipe", "-c", embedded}, 0, "no data of a member are in ", ""},
		"complete a member":          {[]string{"__complete", "-c", embedded, "member", "remove", ""}, 0, "m1\nm2\n", ""},
		"pause on a witness":         {[]string{"pause", "-c", embedded, "--for", "1h"}, 2, "", "this node is a witness"},
		"status of a witness's":      {[]string{"status", "-c", embedded, "mysql"}, 2, "", "this node is a witness"},
		"status, no etcd":            {[]string{"status", "-c", one, "--timeout", "300ms"}, exitEtcdUnreachable, "etcd     does not answer", ""},
		"status, no etcd, no daemon": {[]string{"status", "-c", one, "--timeout", "300ms"}, exitEtcdUnreachable, "daemon   not running on this host", ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := leasehold(t, tc.args...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("stdout:\n%s\nstderr:\n%s\nwant %q and %q", stdout, stderr, tc.stdout, tc.stderr)
			}
		})
	}
}
