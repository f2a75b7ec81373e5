<?php
// Installs the blog into its database, once, and makes its title and administrator what the environment says.
//
// Units that come at the same time wait for each other on a lock in the database. That an installation got to its end
// is noted in the database; one that did not is done again, which WordPress's installer allows. A blog that holds
// posts already was made by somebody else and is left as it is.

$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$_SERVER['REQUEST_METHOD'] = 'GET';
define('WP_INSTALLING', true);

// Defined before WordPress does: nobody is to be mailed a password.
function wp_new_blog_notification(): void {}

require '/etc/wordpress/config-default.php';

function fail(string $message): never {
    fwrite(STDERR, "$message\n");
    exit(1);
}

// WordPress shows a page when there is no database; here it is waited for, half a minute at most.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
[$host, $port] = explode(':', DB_HOST);
$until = microtime(true) + 30;
while (true) {
    try {
        $db = new mysqli($host, DB_USER, DB_PASSWORD, DB_NAME, (int) $port);
        break;
    } catch (mysqli_sql_exception $error) {
        if (microtime(true) > $until) {
            fail('cannot use the database: ' . $error->getMessage());
        }
        usleep(200000);
    }
}
// Held by this connection, so it ends with this process.
$lock = 'wordpress-install-' . substr(md5(DB_NAME), 0, 16);
if ($db->query("SELECT GET_LOCK('$lock', 300)")->fetch_row()[0] != 1) {
    fail('another unit has been installing the blog for five minutes');
}

require '/usr/share/wordpress/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';

// The installer asks the blog for a page to see whether addresses can be rewritten. It is not served yet.
add_filter('pre_http_request', fn() => new WP_Error('offline', 'the blog is being installed'));

$title = getenv('BLOG_TITLE');
$name = getenv('ADMIN_USER');
$email = getenv('ADMIN_EMAIL');
$password = getenv('ADMIN_PASSWORD');

$has_tables = $db->query("SHOW TABLES LIKE '{$wpdb->posts}'")->num_rows > 0;
$is_whole = $has_tables && (get_option('encanto_installed') || $db->query("SELECT 1 FROM {$wpdb->posts} LIMIT 1")->num_rows > 0);
if (!$is_whole) {
    wp_install($title, $name, $email, true, '', wp_slash($password));
}
if (!get_option('encanto_installed')) {
    update_option('encanto_installed', 1);
}

if (get_option('blogname') !== esc_html($title)) {
    update_option('blogname', $title);
}
$user = get_user_by('login', $name);
if (!$user) {
    $id = wp_create_user($name, $password, $email);
    if (is_wp_error($id)) {
        fail('cannot make the administrator: ' . $id->get_error_message());
    }
    $user = get_user_by('id', $id);
}
if (!in_array('administrator', $user->roles, true)) {
    $user->set_role('administrator');
}
// Setting it ends the user's sessions, so only if it is another.
if (!wp_check_password($password, $user->user_pass, $user->ID)) {
    wp_set_password($password, $user->ID);
}
