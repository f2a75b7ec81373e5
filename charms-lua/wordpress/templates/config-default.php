<?php
// Written by the charm from its options and its database relation; changes made here are lost.

define('DB_HOST', {{db_host}});
define('DB_NAME', {{db_name}});
define('DB_USER', {{db_user}});
define('DB_PASSWORD', {{db_password}});
define('DB_CHARSET', 'utf8mb4');

// The blog names itself by its option, or by the address the browser used.
$encanto_url = {{url}};
if ($encanto_url === '') {
    $encanto_host = $_SERVER['HTTP_HOST'] ?? '';
    if (!preg_match('/^[A-Za-z0-9.-]+(:[0-9]+)?$|^\[[0-9a-fA-F:.]+\](:[0-9]+)?$/', $encanto_host)) {
        $encanto_host = 'localhost';
    }
    $encanto_secure = ($_SERVER['HTTPS'] ?? 'off') !== 'off' || ($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https';
    $encanto_url = ($encanto_secure ? 'https://' : 'http://') . $encanto_host;
}
define('WP_HOME', $encanto_url);
define('WP_SITEURL', $encanto_url);

// All units make the same keys and salts of one secret.
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $encanto_name) {
    define("{$encanto_name}_KEY", hash_hmac('sha256', "{$encanto_name}_KEY", {{secret_key}}));
    define("{$encanto_name}_SALT", hash_hmac('sha256', "{$encanto_name}_SALT", {{secret_key}}));
}

define('WP_DEBUG', {{debug}});
define('WP_POST_REVISIONS', {{post_revisions}});
define('WP_MEMORY_LIMIT', {{memory_limit}});
// Packages are the operator's, not the blog's.
define('AUTOMATIC_UPDATER_DISABLED', true);
