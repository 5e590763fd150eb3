package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// systemTablesDir has what mariadb-install-db feeds to the server. The script
// itself is not used: it wants my_print_defaults, which the package
// mariadb-server-core does not depend on.
const systemTablesDir = "/usr/share/mysql"

// CheckMariaDB reports that no MariaDB can be started here, because its server or
// the tables that come with it are not installed.
func CheckMariaDB() error {
	if _, err := findProgram("mariadbd"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(systemTablesDir, systemTables()[0])); err != nil {
		return fmt.Errorf("mariadbd is installed without its system tables: %w", err)
	}
	return nil
}

// systemTables are the files that mariadb-install-db feeds to the server, in its
// order.
func systemTables() []string {
	return []string{"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"}
}

// baseArgs are what every start of a data directory needs: small, without
// waiting for a disk, and with a directory of its own for temporary tables,
// because a server that starts removes those of all others from it.
func (m *MariaDB) baseArgs(datadir string) []string {
	args := []string{
		"--no-defaults", "--datadir=" + datadir, "--tmpdir=" + tmpDir(datadir), "--innodb-use-native-aio=OFF",
		"--performance-schema=OFF", "--key-buffer-size=64K", "--aria-pagecache-buffer-size=1M",
		"--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-undo-tablespaces=0",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-dump-at-shutdown=0",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // the data are the lab's, not the mysql user's
	}
	return args
}

func tmpDir(datadir string) string { return datadir + ".tmp" }

// bootstrap makes a data directory with the system tables and the lab's
// accounts. It takes 0.2–0.3 s, little enough to keep nothing between runs.
func (m *MariaDB) bootstrap(ctx context.Context, dir string) error {
	for _, d := range []string{filepath.Join(dir, "mysql"), tmpDir(dir)} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return fmt.Errorf("make MariaDB's data directory: %w", err)
		}
	}
	input := []io.Reader{strings.NewReader("CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n")}
	for _, name := range systemTables() {
		text, err := os.ReadFile(filepath.Join(systemTablesDir, name))
		if err != nil {
			return fmt.Errorf("read MariaDB's system tables: %w", err)
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			// As mariadb-install-db filters them with skip-name-resolve: the
			// name of this machine has no business in the lab.
			if !strings.Contains(line, "@current_hostname") {
				lines = append(lines, line)
			}
		}
		input = append(input, strings.NewReader(strings.Join(lines, "")+"\n"))
	}
	// The grant tables are read with FLUSH PRIVILEGES; before, there are no
	// accounts to be created.
	input = append(input, strings.NewReader(fmt.Sprintf(`FLUSH PRIVILEGES;
CREATE USER '%s'@'%%' IDENTIFIED BY '%s';
CREATE USER '%s'@'%%' IDENTIFIED BY '%s';
CREATE DATABASE app;
GRANT ALL ON app.* TO '%s'@'%%';
`, CheckUser, CheckPassword, AppUser, AppPassword, AppUser)))

	args := append(m.baseArgs(dir), "--bootstrap", "--log-warnings=0", "--enforce-storage-engine=",
		"--max-allowed-packet=8M", "--net-buffer-length=16K")
	cmd := exec.CommandContext(ctx, m.cfg.Binary, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.MultiReader(input...), &out, &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("make MariaDB's system tables: %w: %s", err, text[max(0, len(text)-2000):])
	}
	return nil
}
