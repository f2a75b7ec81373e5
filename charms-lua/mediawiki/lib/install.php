<?php
// Installs the wiki into its database, once.
//
// Units that come at the same time wait for each other on a lock in the database. A wiki is whole when it has a page:
// the main page is the last thing MediaWiki's installer makes. What an interrupted installation left is removed first.
// Prints "installed" or "present".

const MAINTENANCE = '/usr/share/mediawiki/maintenance';

// The installer's own LocalSettings.php goes here, where no restart and no other user finds it.
const FOLDER = '/run/encanto/mediawiki-install';

function fail(string $message): never {
	fwrite(STDERR, "$message\n");
	exit(1);
}

/** Connects; a server that is just starting, or a user that is just being made, gets half a minute. */
function connect(): mysqli {
	mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
	$until = microtime(true) + 30;
	while (true) {
		try {
			return new mysqli(getenv('DB_HOST'), getenv('DB_USER'), getenv('DB_PASSWORD'), getenv('DB_NAME'), (int) getenv('DB_PORT'));
		} catch (mysqli_sql_exception $error) {
			if (microtime(true) > $until) {
				fail('cannot use the database: ' . $error->getMessage());
			}
			usleep(200000);
		}
	}
}

function tables(mysqli $db): array {
	return array_column($db->query('SHOW TABLES')->fetch_all(), 0);
}

/** The names of the tables that MediaWiki's installer makes. */
function known(): array {
	$sql = file_get_contents(MAINTENANCE . '/tables.sql') . file_get_contents(MAINTENANCE . '/tables-generated.sql');
	preg_match_all('#CREATE TABLE /\*_\*/(\w+)#', $sql, $found);
	return $found[1];
}

function clear(mysqli $db, array $tables): void {
	$strange = array_diff($tables, known());
	if ($strange) {
		fail('the database is used by something else: it has a table ' . reset($strange));
	}
	foreach ($tables as $table) {
		$db->query("DROP TABLE `$table`");
	}
}

function sweep(): void {
	array_map('unlink', glob(FOLDER . '/*'));
	@rmdir(FOLDER);
}

function install(): void {
	sweep();
	mkdir(FOLDER, 0700, true);
	$folder = FOLDER;
	$command = [
		PHP_BINARY, MAINTENANCE . '/install.php', '--confpath', $folder, '--scriptpath', '', '--server', 'http://localhost',
		'--lang', getenv('WIKI_LANGUAGE'), '--dbtype', 'mysql',
		'--dbserver', getenv('DB_HOST') . ':' . getenv('DB_PORT'), '--dbname', getenv('DB_NAME'), '--dbuser', getenv('DB_USER'),
		'--dbpassfile', 'php://fd/3', '--passfile', 'php://fd/4',
		getenv('WIKI_NAME'), getenv('ADMIN_USER'),
	];
	// An existing LocalSettings.php would turn this into an upgrade.
	$environment = ['PATH' => getenv('PATH'), 'MW_CONFIG_FILE' => "$folder/none.php"];
	$pipes = [];
	$process = proc_open($command, [
		0 => ['file', '/dev/null', 'r'], 1 => ['file', "$folder/output", 'w'], 2 => ['file', "$folder/output", 'a'],
		3 => ['pipe', 'r'], 4 => ['pipe', 'r'],
	], $pipes, '/', $environment);
	fwrite($pipes[3], getenv('DB_PASSWORD'));
	fclose($pipes[3]);
	fwrite($pipes[4], getenv('ADMIN_PASSWORD'));
	fclose($pipes[4]);
	$code = proc_close($process);
	$output = file_get_contents("$folder/output");
	sweep();
	if ($code !== 0) {
		fail("MediaWiki's installer failed:\n" . $output);
	}
}

$db = connect();
$lock = 'mediawiki-install-' . substr(md5(getenv('DB_NAME')), 0, 16);
if ($db->query("SELECT GET_LOCK('$lock', 300)")->fetch_row()[0] != 1) {
	fail('another unit has been installing the wiki for five minutes');
}
$tables = tables($db);
if (in_array('page', $tables) && $db->query('SELECT 1 FROM page LIMIT 1')->num_rows > 0) {
	echo "present\n";
} else {
	clear($db, $tables);
	install();
	echo "installed\n";
}
