<?php
// Gives the account ACCOUNT_NAME the password ACCOUNT_PASSWORD and puts it into ACCOUNT_GROUPS (with commas between).
// ACCOUNT_IS says whether it must be "new" or "known"; otherwise it is made if it is missing.

use MediaWiki\Auth\AuthManager;
use MediaWiki\MediaWikiServices;

require_once '/usr/share/mediawiki/maintenance/Maintenance.php';

class Account extends Maintenance {
	public function execute() {
		$services = MediaWikiServices::getInstance();
		$name = getenv( 'ACCOUNT_NAME' );
		$user = $services->getUserFactory()->newFromName( $name, MediaWiki\User\UserRigorOptions::RIGOR_CREATABLE );
		if ( !$user ) {
			$this->fatalError( "\"$name\" is no name that MediaWiki allows" );
		}
		$is = getenv( 'ACCOUNT_IS' );
		if ( $user->isRegistered() && $is === 'new' ) {
			$this->fatalError( "there is an account \"{$user->getName()}\" already" );
		}
		if ( !$user->isRegistered() && $is === 'known' ) {
			$this->fatalError( "there is no account \"{$user->getName()}\"" );
		}
		$password = getenv( 'ACCOUNT_PASSWORD' );
		$fit = $user->checkPasswordValidity( $password );
		// The administrator of the options is who it is, whatever the wiki thinks of the password.
		if ( $is && !$fit->isGood() ) {
			$this->fatalError( $fit->getMessage( false, false, 'en' )->text() );
		}
		if ( !$user->isRegistered() ) {
			$made = $services->getAuthManager()->autoCreateUser( $user, AuthManager::AUTOCREATE_SOURCE_MAINT, false );
			if ( !$made->isGood() ) {
				$this->fatalError( $made->getMessage( false, false, 'en' )->text() );
			}
		}
		$groups = $services->getUserGroupManager();
		foreach ( array_filter( explode( ',', getenv( 'ACCOUNT_GROUPS' ) ) ) as $group ) {
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
		echo $user->getName();
	}
}

$maintClass = Account::class;
require_once RUN_MAINTENANCE_IF_MAIN;
