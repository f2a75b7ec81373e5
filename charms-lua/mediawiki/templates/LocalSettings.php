<?php
# Written by the charm from its options and its database relation; changes made here are lost.
if ( !defined( 'MEDIAWIKI' ) ) {
	exit;
}

$wgSitename = {{name}};
# The option, or the address the browser used (MediaWiki writes the standard port, too, which looks odd).
$wgServer = {{server}};
if ( $wgServer === '' ) {
	$wgServer = preg_replace( '#^(http://.*):80$|^(https://.*):443$#', '$1$2', WebRequest::detectServer() );
}
$wgScriptPath = '';
$wgResourceBasePath = '';
$wgLanguageCode = {{language}};

$wgDBtype = 'mysql';
$wgDBserver = {{db_server}};
$wgDBname = {{db_name}};
$wgDBuser = {{db_user}};
$wgDBpassword = {{db_password}};
$wgDBTableOptions = 'ENGINE=InnoDB, DEFAULT CHARSET=binary';
{{db_servers}}
# Shared by all units; what may differ between them is kept in each one's memory by MediaWiki itself.
# By the database's user, which every relation to a database has anew: what is cached of one database is never taken
# for what another holds.
$wgCachePrefix = {{cache_prefix}};
$wgMainCacheType = {{cache_type}};
$wgMemCachedServers = {{cache_servers}};
$wgSessionCacheType = {{cache_type}};
$wgParserCacheType = {{cache_type}};

# Balancers, whose word on a client's address is taken.
$wgCdnServersNoPurge = {{proxies}};
$wgUsePrivateIPs = true;
$wgCacheDirectory = '/var/lib/mediawiki/cache';

$wgSecretKey = {{secret_key}};
$wgUpgradeKey = {{upgrade_key}};
$wgAuthenticationTokenVersion = '1';

$wgEnableEmail = false;
$wgEnableUploads = false;
$wgPingback = false;

wfLoadSkins( [ 'MinervaNeue', 'MonoBook', 'Timeless', 'Vector' ] );
$wgDefaultSkin = {{skin}};
// Without one the page asks for it in large letters.
$wgLogos = [ '1x' => "$wgResourceBasePath/resources/assets/poweredby_mediawiki_132x47.png" ];

if ( {{debug}} ) {
	$wgShowExceptionDetails = true;
	$wgDevelopmentWarnings = true;
	ini_set( 'display_errors', '1' );
}
