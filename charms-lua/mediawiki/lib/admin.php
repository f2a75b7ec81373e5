<?php
// Makes ADMIN_USER an administrator whose password is ADMIN_PASSWORD.

use MediaWiki\Auth\AuthManager;
use MediaWiki\MediaWikiServices;

require_once '/usr/share/mediawiki/maintenance/Maintenance.php';

class Administrator extends Maintenance {
	public function execute() {
		$services = MediaWikiServices::getInstance();
		$user = $services->getUserFactory()->newFromName( getenv( 'ADMIN_USER' ) );
		if ( !$user ) {
			$this->fatalError( 'admin-user is no name that MediaWiki allows' );
		}
		$password = getenv( 'ADMIN_PASSWORD' );
		if ( !$user->isRegistered() ) {
			$made = $services->getAuthManager()->autoCreateUser( $user, AuthManager::AUTOCREATE_SOURCE_MAINT, false );
			if ( !$made->isGood() ) {
				$this->fatalError( $made->getMessage( false, false, 'en' )->text() );
			}
		}
		$groups = $services->getUserGroupManager();
		foreach ( [ 'sysop', 'bureaucrat', 'interface-admin' ] as $group ) {
			$groups->addUserToGroup( $user, $group );
		}
		$changed = $user->changeAuthenticationData( [
			'username' => $user->getName(),
			'password' => $password,
			'retype' => $password,
		] );
		if ( !$changed->isGood() ) {
			$this->fatalError( $changed->getMessage( false, false, 'en' )->text() );
		}
	}
}

$maintClass = Administrator::class;
require_once RUN_MAINTENANCE_IF_MAIN;
